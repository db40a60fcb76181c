// Keeps the page of a running run true: asks for its state twice a second, also after trouble,
// not while nobody looks, and no more once it has ended: then the finished page takes its place.
const EVERY_MS = 500, AFTER_TROUBLE_MS = 2000, PATIENCE_MS = 4000, SILENT_S = 4;
const live = document.getElementById('live'), find = name => document.getElementById(name);
let timer, finished = 0, asked = 0, last = null, isPaused = false;
function later(wait) {
  clearTimeout(timer);
  if (!isPaused && !document.hidden) timer = setTimeout(poll, wait);
}
async function poll() {
  const turn = ++asked;
  let wait = EVERY_MS;
  try {
    const answer = await fetch(live.dataset.state, {cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS)});
    const state = await answer.json();
    if (turn !== asked) return;
    if (state.error) throw new Error(state.error);
    if (state.status === 'running') show(state);
    // there may be nobody any more to ask for it
    else if ((await fetch(location.href)).ok) return location.reload();
  } catch (error) {
    if (turn !== asked) return;
    // the browser's own words are of no help
    const isTold = error instanceof Error && error.constructor === Error;
    complain(`${isTold ? error.message : 'Datasette does not answer'}; trying again`);
    wait = AFTER_TROUBLE_MS;
  }
  later(wait);
}
function put(place, text) {  // what stays the same is not touched: it may be selected, or read aloud
  if (place.textContent !== text) place.textContent = text;
}
function complain(text) {
  put(find('trouble'), text);
  find('trouble').hidden = !text;
}
function show(state) {
  last = state;
  complain(state.silent_s > SILENT_S ? `The run has given no sign of life for more than ${SILENT_S} s` : '');
  put(find('doing'), state.doing || 'Preparing');
  put(find('said'), state.said);
  put(find('counts'), [state.counts, state.failed ? `${state.failed} failed` : '', state.left].filter(Boolean).join(', '));
  find('progress').hidden = state.progress === null;
  if (state.progress !== null) find('progress').value = state.progress;
  showFigures(state.figures);
  put(find('level'), state.level ? `Requests over time: ${state.level}` : 'Requests over time');
  const count = state.requests.length;
  put(find('shown'), count < state.count ? `The newest ${count.toLocaleString('en')} of ${state.count.toLocaleString('en')}` : '');
  draw();
  if (state.finished !== finished) showLevels(state.finished);
}
function showFigures(figures) {
  const list = find('figures');
  while (list.children.length > figures.length) list.lastChild.remove();
  figures.forEach(([term, text], place) => {
    let pair = list.children[place];
    if (!pair) {
      pair = document.createElement('div');
      pair.append(document.createElement('dt'), document.createElement('dd'));
      list.append(pair);
    }
    put(pair.firstChild, term);
    put(pair.lastChild, text);
  });
}
async function showLevels(count) {
  finished = count;
  try {
    const answer = await fetch(live.dataset.levels);
    // every text in it is escaped where it is made
    if (answer.ok) find('levels-so-far').innerHTML = await answer.text();
  } catch { finished = 0; }
}
function draw() {  // a row for each request, from its question to its end or to now
  const canvas = find('timeline'), box = canvas.getBoundingClientRect(), scale = devicePixelRatio;
  const width = Math.round(box.width * scale), height = Math.round(box.height * scale);
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  const pen = canvas.getContext('2d'), look = getComputedStyle(live);
  const colour = name => look.getPropertyValue(name).trim();
  const wait = colour('--wait'), stream = colour('--stream'), bad = colour('--bad');
  pen.clearRect(0, 0, width, height);
  const {requests, from_s, to_s} = last;
  if (!requests.length || to_s === null) return;
  const axis = 18 * scale, room = height - axis, step = Math.min(14 * scale, room / requests.length);
  const x = at => (at - from_s) / Math.max(to_s - from_s, 0.5) * width;
  requests.forEach((one, row) => {
    const y = row * step, tall = Math.max(1, step - (step > 4 * scale ? scale : 0));
    const end = one.ended_s ?? to_s, first = Math.min(one.first_s ?? end, end);
    const isBad = !['completed', 'in_flight'].includes(one.ending);
    pen.fillStyle = isBad ? bad : wait;
    pen.fillRect(x(one.asked_s), y, Math.max(1, x(first) - x(one.asked_s)), tall);
    pen.fillStyle = isBad ? bad : stream;
    if (one.first_s !== null) pen.fillRect(x(first), y, Math.max(1, x(end) - x(first)), tall);
  });
  pen.fillStyle = colour('--faint');
  pen.font = `${12 * scale}px Helvetica, Arial, sans-serif`;
  pen.fillText('0 s', 3 * scale, height - 5 * scale);
  const end = `${(to_s - from_s).toFixed(1)} s`;
  pen.fillText(end, width - pen.measureText(end).width - 3 * scale, height - 5 * scale);
}
find('pause').addEventListener('click', () => {
  isPaused = !isPaused;
  find('pause').setAttribute('aria-pressed', isPaused);
  if (isPaused) { asked += 1; clearTimeout(timer); } else poll();
});
document.addEventListener('visibilitychange', () => {
  if (document.hidden) clearTimeout(timer);
  else if (!isPaused) poll();
});
addEventListener('resize', () => { if (last) draw(); });
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { if (last) draw(); });
poll();
