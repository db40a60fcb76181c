// The figures of levels from the instants that the page carries, step by step as recomputed.py has them.
const recompute = (() => {
  const MOMENTS = ['due_ns', 'sent_ns', 'first_text_ns', 'first_answer_ns', 'last_text_ns', 'ended_ns'];
  const COUNTS = ['chunks', 'output_tokens', 'output_tokens_source', 'cut'];
  const FLOORS = {95: 20, 99: 100}, SPEEDS = ['tpot', 'tokens_per_s'];  // values that a percentile needs
  const MOST_UNDECIDED_RATIO = 0.05, ENOUGH_RATIO = 0.95;

  function decode(steps, start) {
    return steps.map(step => step === null ? null : start += step);
  }
  function listRequests(level) {
    const columns = level.requests, start = level.started_ns ?? 0;
    return columns.ending.map((ending, row) => {
      const request = {ending}, moments = decode(MOMENTS.map(name => columns[name][row]), start);
      MOMENTS.forEach((name, place) => { request[name] = moments[place]; });
      COUNTS.forEach(name => { request[name] = columns[name][row]; });
      request.asked_ns = request.due_ns ?? request.sent_ns;
      return request;
    });
  }
  function countInstants(rows) {
    let count = 0;
    for (const level of rows.studies.flatMap(study => study.levels))
      for (const column of [...MOMENTS.map(name => level.requests[name]), ...(level.chunks ?? [])])
        count += column.filter(value => value !== null).length;
    return count;
  }

  const difference = (start, end) => start === null || end === null ? null : end - start;
  const since = (start, end) => { const ns = difference(start, end); return ns === null ? null : ns / 1e9; };
  const known = values => values.filter(value => value !== null).sort((a, b) => a - b);
  const perSecond = (amount, ns) => amount === null || !ns ? null : amount * 1e9 / ns;
  function total(values) {
    return values.reduce((sum, value) => value === null ? sum : sum === null ? value : sum + value, null);
  }
  function mean(values) {
    const found = known(values), amount = total(found);
    return amount === null ? null : amount / found.length;
  }
  function percentile(values, percent) {  // nearest rank
    const found = known(values);
    return found.length < (FLOORS[percent] ?? 1) ? null : found[Math.floor((percent * found.length + 99) / 100) - 1];
  }
  function perChunk(one) {
    return one.output_tokens_source !== 'server' || !one.chunks || one.output_tokens === null ? null : one.output_tokens / one.chunks;
  }
  function rate(one) {
    const ns = difference(one.first_text_ns, one.last_text_ns);
    if (one.output_tokens === null || ns === null || one.output_tokens <= 1 || ns <= 0) return null;
    return (one.output_tokens - (perChunk(one) || 1)) * 1e9 / ns;
  }
  function isJudged(one, level) {
    if (level.steady_start_ns === null || ['refused', 'reset'].includes(one.ending)) return true;
    const at = one.asked_ns ?? one.ended_ns;
    return at !== null && level.steady_end_ns !== null && level.steady_start_ns <= at && at <= level.steady_end_ns;
  }

  function findFigures(level, study, every) {
    const requests = listRequests(level), judged = requests.filter(one => isJudged(one, level));
    const isDone = one => one.ending === 'completed', done = judged.filter(isDone), allDone = requests.filter(isDone);
    const waits = done.map(one => since(one.asked_ns, one.first_text_ns)), rates = done.map(rate);
    const ns = difference(level.started_ns, level.ended_ns);
    return {
      completed: allDone.length,
      errors: requests.filter(one => !['completed', 'in_flight'].includes(one.ending)).length,
      ...judgeAll(level, study, requests, judged),
      output_tokens_mean: mean(allDone.map(one => one.output_tokens)),
      ttft_mean_s: mean(waits),
      ttft_p50_s: percentile(waits, 50),
      ttft_p95_s: percentile(waits, 95),
      ttft_p99_s: percentile(waits, 99),
      tokens_per_s_mean: mean(rates),
      tokens_per_s_min: known(rates)[0] ?? null,
      e2e_mean_s: mean(done.map(one => since(one.asked_ns, one.last_text_ns))),
      duration_s: since(level.started_ns, level.ended_ns),
      output_tokens_per_s: perSecond(allDone.length ? total(requests.map(one => one.output_tokens)) : null, ns),
      requests_per_s: perSecond(requests.length ? allDone.length : null, ns),
      full_load_tokens_per_s: findFullLoad(level, requests, every),
    };
  }

  function judgeAll(level, study, requests, judged) {
    const ended = judged.filter(one => one.ending !== 'in_flight');
    if (level.status !== 'finished' || level.slept || !ended.length) return {good: null, served: false};
    const bounds = study.bounds, seen = tokensOfChunk(requests), [good, undecided] = countGood(ended, Object.keys(bounds), bounds, seen);
    const served = study.demands.length > 0 && study.demands.every(([names, enough]) => {
      const [met, unknown] = countGood(ended, names, bounds, seen), asked = ended.length - unknown;
      return (asked ? met / asked : 0) >= enough && unknown <= Math.min(MOST_UNDECIDED_RATIO, 1 - enough) * ended.length;
    });
    return {good: haveNoRates(ended, bounds) ? null : `${good} of ${ended.length - undecided}`, served};
  }
  function haveNoRates(ended, bounds) {  // all that is missed are speeds that nobody knows
    if (ended.some(one => one.ending !== 'completed' || one.cut)) return false;
    const isMissed = name => ended.filter(one => meets(one, name, bounds[name])).length < ENOUGH_RATIO * ended.length;
    const missed = Object.keys(bounds).filter(isMissed);
    return missed.length > 0 && missed.every(name => SPEEDS.includes(name)) && ended.every(one => rate(one) === null);
  }
  function tokensOfChunk(requests) {
    const counted = requests.filter(one => one.ending === 'completed' && perChunk(one) !== null);
    const tokens = total(counted.map(one => one.output_tokens)), chunks = total(counted.map(one => one.chunks));
    return tokens !== null && chunks ? tokens / chunks : 1;
  }
  function countGood(ended, names, bounds, seen) {
    let good = 0, undecided = 0;
    for (const one of ended) {
      if (one.ending === 'completed') good += !one.cut && names.every(name => meets(one, name, bounds[name]));
      else if (one.ending === 'cancelled') undecided += !names.some(name => hasMissed(one, name, bounds[name], seen));
    }
    return [good, undecided];
  }
  function meets(one, name, bound) {
    if (!SPEEDS.includes(name)) {
      const value = since(one.asked_ns, findEnd(one, name, false));
      return value !== null && value <= bound;
    }
    const speed = rate(one);
    if (speed !== null && (name === 'tokens_per_s' || speed)) return name === 'tpot' ? 1 / speed <= bound : speed >= bound;
    return one.output_tokens !== null && one.output_tokens < 2 && one.output_tokens_source !== 'chunks';
  }
  function hasMissed(one, name, bound, seen) {
    if (!SPEEDS.includes(name)) {
      const waited = difference(one.asked_ns, findEnd(one, name, true));
      return waited !== null && waited > bound * 1e9;
    }
    const ns = difference(one.first_text_ns, one.ended_ns);
    if (ns === null || one.output_tokens === null) return false;
    const tokens = one.output_tokens * (one.output_tokens_source === 'chunks' ? seen : 1);
    return name === 'tpot' ? ns > bound * 1e9 * tokens : tokens * 1e9 < bound * ns;
  }
  function findEnd(one, name, wasCut) {
    if (name === 'e2e') return wasCut ? one.ended_ns : one.last_text_ns;
    const end = {ttft: one.first_text_ns, ttfat: one.first_answer_ns}[name];
    return end === null && wasCut ? one.ended_ns : end;
  }

  function findFullLoad(level, requests, every) {
    const streams = requests.filter(one => one.first_text_ns !== null), window = findWindow(level, streams);
    if (window === null) return null;
    const counts = countInside(level, requests, window, every);
    const inside = total(requests.map((one, row) => one.first_text_ns === null ? null : insideTokens(one, window, counts[row])));
    const tokens = total(streams.map(one => one.output_tokens));
    return inside === null || tokens === null || 10 * inside < tokens ? null : perSecond(inside, window[1] - window[0]);
  }
  function findWindow(level, streams) {  // the steady part, or from the first to the last instant with 90 % of the streams
    const start = level.steady_start_ns, end = level.steady_end_ns;
    if (start !== null && end !== null && end > start) return [start, end];
    if (areInOnePiece(streams)) return null;
    const lasting = streams.filter(one => one.last_text_ns > one.first_text_ns);
    const edges = [...lasting.map(one => [one.first_text_ns, -1]), ...lasting.map(one => [one.last_text_ns, 1])];
    edges.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    const sums = [];
    let running = 0, peak = 0;
    edges.forEach(([at, step], place) => {
      running -= step;
      const next = edges[place + 1];
      if (next && next[0] === at && next[1] === step) return;
      peak = Math.max(peak, running);
      sums.push([at, running]);
    });
    const isFull = ([, count]) => 10 * count >= 9 * peak, first = sums.findIndex(isFull);
    if (!peak || first + 1 >= sums.length) return null;
    let last = sums.length - 1;
    while (!isFull(sums[last])) last -= 1;
    return [sums[first][0], sums[Math.min(last + 1, sums.length - 1)][0]];
  }
  function areInOnePiece(streams) {  // so many that nobody knows what ran at once
    const done = streams.filter(one => one.ending === 'completed');
    const pieces = done.filter(one => one.last_text_ns === one.first_text_ns
      && (one.output_tokens > 1 || one.output_tokens_source === 'chunks'));
    return 10 * pieces.length > done.length;
  }
  function countInside(level, requests, [start, end], every) {
    if (every > 1 && level.inside) return level.inside;
    if (!level.chunks) return requests.map(() => null);
    return level.chunks.map((steps, row) => {
      const instants = decode(steps, requests[row].first_text_ns ?? 0);
      return instants.length ? instants.filter(at => at <= end).length - instants.filter(at => at <= start).length : null;
    });
  }
  function insideTokens(one, [start, end], chunks) {
    const first = one.first_text_ns, last = one.last_text_ns, tokens = one.output_tokens;
    if (last === null) return null;
    if (last <= start || first > end) return 0;
    if (tokens === null || (first > start && last <= end)) return tokens;
    if (chunks !== null) return one.chunks ? tokens / one.chunks * chunks : null;
    if (last === first) return null;
    return tokens * (Math.min(last, end) - Math.max(first, start)) / (last - first);
  }

  function makeAll(rows) {  // by the number of a level: itself and its figures
    const levels = new Map();
    for (const study of rows.studies)
      for (const level of study.levels) levels.set(level.id, {level, figures: findFigures(level, study, rows.every)});
    return levels;
  }
  function find(levels, name, ids) {
    const chosen = ids.map(id => levels.get(id));
    if (name === 'most_served') return findMostServed(chosen);
    if (chosen.length === 1) return chosen[0].figures[name];
    const runs = new Map();
    for (const {level, figures} of chosen)
      if (figures[name] !== null) runs.set(level.run, [...(runs.get(level.run) ?? []), figures[name]]);
    const means = [...runs.values()].map(mean);
    return means.length === 1 ? means[0] : mean(means);
  }
  function findMostServed(chosen) {
    let served = 0;
    for (const count of [...new Set(chosen.map(one => one.level.concurrency))].sort((a, b) => a - b)) {
      if (!chosen.every(one => one.level.concurrency !== count || one.figures.served)) break;
      served = count;
    }
    return served;
  }

  // How the page writes figures: analysis/wording.py's digits, terminal/figures.py's format_duration.
  function short(value, places) {
    const rounded = Number(value.toPrecision(places));
    if (rounded === 0 || Math.abs(rounded) >= 1e-4) return String(rounded);
    return rounded.toExponential().replace(/e-(\d)$/, 'e-0$1');
  }
  function digits(value) {
    if (Math.abs(value) >= 100 || value === Math.trunc(value)) return value.toFixed(0).replace(/\B(?=(\d{3})+$)/g, ',');
    return short(value, Math.abs(value) >= 0.001 ? 3 : 2);
  }
  function seconds(value) {
    if (value < 0.0095) return `${short(value * 1e3, 2)} ms`;
    if (value < 0.9995) return `${(value * 1e3).toFixed(0)} ms`;
    if (value < 59.95) return `${short(value, 3)} s`;
    const whole = Math.round(value), pad = part => String(part).padStart(2, '0');
    const minutes = Math.floor(whole / 60), rest = pad(whole % 60);
    return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${pad(minutes % 60)}:${rest}`;
  }
  function write(name, value) {  // both ways where rounding changes
    if (value === null || value === undefined) return ['–'];
    if (typeof value === 'string' || ['completed', 'errors', 'most_served'].includes(name)) return [String(value)];
    const form = name.endsWith('_per_s') || name.startsWith('tokens_per_s') || name === 'output_tokens_mean' ? digits : seconds;
    return [0, 1e-9, -1e-9].map(part => form(value * (1 + part)));
  }
  return {makeAll, find, write, countInstants};
})();
