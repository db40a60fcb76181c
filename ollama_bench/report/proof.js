// Holds the page against what it carries: digests of its parts, and its figures made anew. Runs before anything is drawn.
const proof = (() => {
  const PARTS = {instants: 'the instants', charts: 'the data of the charts', text: 'the text'};
  const PHRASES = {  // in sentences: what stands before and after a figure
    most_served: ['^[^\\d]*', '(?![\\d.,])'],
    tokens_per_s_mean: ['^', ' tokens/s each'],
    output_tokens_per_s: ['(?:^|, )', ' all together'],
    ttft_mean_s: ['(?:^|, )', ' until the first token'],
    requests_per_s: ['^', ' requests/s'],
  };
  const content = id => document.getElementById(id).textContent;
  // as read: charts add theirs
  const text = content('report').replace(/\r\n?/g, '\n').replace(/\0/g, '');
  const shown = [...document.querySelectorAll('#report [data-figures]')].map(place => ({
    place, text: place.textContent, names: place.dataset.figures.split(' '), levels: place.dataset.levels.split(' ').map(Number)}));
  const count = shown.reduce((sum, one) => sum + one.names.length, 0);

  async function unpack(packed) {
    const bytes = Uint8Array.from(atob(packed), letter => letter.charCodeAt(0));
    const opened = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
    return new Response(opened).text();
  }
  async function hash(text) {
    const bytes = new TextEncoder().encode(text);
    // only where the browser trusts the address
    const sum = globalThis.crypto?.subtle ? new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)) : sha256(bytes);
    return [...sum].map(byte => byte.toString(16).padStart(2, '0')).join('');
  }
  function sha256(bytes) {  // FIPS 180-4
    const fraction = root => Math.floor((root - Math.floor(root)) * 2 ** 32), primes = [];
    for (let n = 2; primes.length < 64; n += 1) if (primes.every(prime => n % prime)) primes.push(n);
    const K = primes.map(prime => fraction(Math.cbrt(prime))), state = Uint32Array.from(primes.slice(0, 8), prime => fraction(Math.sqrt(prime)));
    const padded = new Uint8Array(Math.ceil((bytes.length + 9) / 64) * 64), view = new DataView(padded.buffer);
    padded.set(bytes);
    padded[bytes.length] = 0x80;
    view.setBigUint64(padded.length - 8, BigInt(bytes.length) * 8n);
    const turn = (word, by) => word >>> by | word << 32 - by, words = new Uint32Array(64);
    for (let start = 0; start < padded.length; start += 64) {
      for (let i = 0; i < 64; i += 1) {
        if (i < 16) { words[i] = view.getUint32(start + 4 * i); continue; }
        const early = words[i - 15], late = words[i - 2];
        words[i] = words[i - 16] + (turn(early, 7) ^ turn(early, 18) ^ early >>> 3) + words[i - 7] + (turn(late, 17) ^ turn(late, 19) ^ late >>> 10);
      }
      let [a, b, c, d, e, f, g, h] = state;
      for (let i = 0; i < 64; i += 1) {
        const one = h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + (e & f ^ ~e & g) + K[i] + words[i] | 0;
        const two = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + (a & b ^ a & c ^ b & c) | 0;
        [h, g, f, e, d, c, b, a] = [g, f, e, d + one | 0, c, b, a, one + two | 0];
      }
      [a, b, c, d, e, f, g, h].forEach((word, i) => { state[i] += word; });
    }
    const out = new DataView(new ArrayBuffer(32));
    state.forEach((word, i) => out.setUint32(4 * i, word));
    return new Uint8Array(out.buffer);
  }

  async function listBroken(instants) {
    const sealed = content('seal'), found = [];
    let stated = {};
    try { stated = JSON.parse(sealed); } catch { found.push('the list of digests was changed'); }
    const parts = {instants, charts: content('specs'), text};
    for (const [name, part] of Object.entries(parts))
      if (stated[name] !== await hash(part)) found.push(`${PARTS[name]} changed`);
    if (stated.figures !== count) found.push('what marks its figures changed');
    if (content('digest') !== await hash(sealed)) found.push('the digest, or the list of digests, was changed');
    return found;
  }
  function says({place, text}, name, written) {
    if (place.tagName === 'TD') return written.includes(text);
    const [before, after] = PHRASES[name];
    return written.some(one => new RegExp(before + one.replace(/\./g, '\\.') + after).test(text));
  }
  function listWrong(rows) {
    const levels = recompute.makeAll(rows), found = [];
    for (const one of shown)
      for (const name of one.names) {
        const written = recompute.write(name, recompute.find(levels, name, one.levels));
        if (says(one, name, written)) continue;
        one.place.classList.add('altered');
        one.place.title = `its instants give ${written[0]}`;
        found.push(`${nameFigure(one, levels)} is ${written[0]}, not ${one.text.slice(0, 80)}`);
      }
    return found;
  }
  function nameFigure({place, levels: ids}, levels) {
    if (place.tagName !== 'TD') return 'a figure of the answer';
    const heading = place.closest('table').rows[0].cells[place.cellIndex].textContent;
    return `${heading} of level ${levels.get(ids[0]).level.concurrency}`;
  }
  async function prove() {
    const packed = content('instants');
    let instants = packed, rows = null, problems = [];
    try {
      instants = packed && await unpack(packed);
      rows = packed && JSON.parse(instants);
      if (rows) problems = listWrong(rows);
    } catch (error) {
      if (!globalThis.DecompressionStream) return tell('This browser cannot unpack the instants of this page: analyze.py --verify does it.', 'unknown');
      problems = ['the instants cannot be read'];
    }
    problems.push(...await listBroken(instants));
    if (problems.length) return tell(`This page was changed: ${problems.slice(0, 5).join('; ')}${problems.length > 5 ? ' ...' : ''}.`, 'changed');
    if (!rows) return tell(`${document.getElementById('checked').textContent} It is as it was written.`, 'agrees');
    tell(`Recomputed from ${recompute.countInstants(rows).toLocaleString('en')} instants: all ${count.toLocaleString('en')} figures agree.`, 'agrees');
  }
  function tell(said, verdict) {
    const place = document.getElementById('checked');
    place.textContent = said;
    place.classList.toggle('altered', verdict === 'changed');
    document.documentElement.dataset.proof = verdict;
  }
  return {done: prove(), sha256};
})();
