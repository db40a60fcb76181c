// Plays levels back side by side: one clock for all, and for each stream what had come by then.
const [player, play, back, on, speed, at, clock, said, beside, places] =
  ['player', 'play', 'back', 'on', 'speed', 'at', 'clock', 'said', 'beside', 'places'].map(name => document.getElementById(name));
const STEP_MS = 1000, FAR_STEPS = 10;
const calm = matchMedia('(prefers-reduced-motion: reduce)');  // then the picture changes once a second
const seconds = ms => `${(ms / 1000).toFixed(1)} s`;
const perSecond = rate => `${rate < 99.95 ? rate.toFixed(1) : Math.round(rate).toLocaleString('en')} tokens/s`;
const panels = [];
let position = 0, began = null;  // ms; what runs on from which moment of the browser's clock, null while it stands

const end = () => Math.max(0, ...panels.map(panel => panel.level.duration));
function now() {
  if (!began) return position;
  return Math.min(end(), began.position + (performance.now() - began.at) * began.speed);
}
function run(from) {
  position = from;
  began = {at: performance.now(), position, speed: Number(speed.value)};
}
function start() {
  run(position < end() ? position : 0);
  play.textContent = 'Pause';
  said.textContent = '';
  requestAnimationFrame(tick);
}
function stop() {
  position = Math.floor(now());
  began = null;
  play.textContent = 'Play';
  show();
  say();
}
function tick() {
  if (!began) return;
  position = now();
  if (position >= end()) return stop();
  show();
  requestAnimationFrame(tick);
}
function move(to) {
  to = Math.min(end(), Math.max(0, to));
  if (began) return run(to);
  position = to;
  show();
  say();
}
function show() {
  const step = began && calm.matches ? STEP_MS : 1, ms = Math.floor(position / step) * step;
  at.value = ms / 1000;
  clock.textContent = `${seconds(ms)} of ${seconds(end())}`;
  for (const panel of panels) panel.show(ms);
}
function say() {  // in words, for who does not see it; not while it runs
  at.setAttribute('aria-valuetext', clock.textContent);
  for (const panel of panels) panel.grid?.setAttribute('aria-label', panel.sum.textContent);
  said.textContent = `At ${seconds(position)}: ${panels.map(panel => panel.sum.textContent).join('. Beside it: ')}`;
}

function countUpTo(instants, ms) {  // how many are not later
  let low = 0, high = instants.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (instants[middle] <= ms) low = middle + 1; else high = middle;
  }
  return low;
}
function addUp(numbers) {
  let sum = 0;
  return numbers.map(number => sum += number);
}
function make(name, className, inside = [], attributes = {}) {
  const found = document.createElement(name);
  found.className = className;
  found.append(...inside);
  for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
  return found;
}
function write(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

class PlayedRequest {
  constructor(row) {
    Object.assign(this, row);
    this.instants = addUp(row.gaps);
    this.tokensPerChunk = row.tokens === null || !row.chunks ? 1 : row.tokens / row.chunks;
    this.texts = ['reasoning', 'answer'].map(kind => row[kind] && {
      ends: addUp(row[kind].sizes),
      text: row[kind].text,
      block: kind === 'answer' ? '▮' : '▯',
    });
  }
  chunksBy(ms) {
    return Math.min(this.chunks, countUpTo(this.instants, ms) * this.size);
  }
  stateAt(ms) {
    if (this.ended !== null && ms >= this.ended) return this.ending === 'completed' ? 'done' : 'failed';
    return this.first !== null && ms >= this.first ? 'answering' : 'waiting';
  }
  textsAt(ms) {
    const step = countUpTo(this.instants, ms) - 1;
    return this.texts.map(known => {
      if (!known || step < 0) return '';
      const length = known.ends[step];
      return known.text === null ? known.block.repeat(length) : known.text.slice(0, length);
    });
  }
  speedBy(ms) {  // tokens/s after its first chunk, once all came the request's own; null before there are two
    const isDone = this.ended !== null && ms >= this.ended || this.chunks > 0 && this.chunksBy(ms) === this.chunks;
    if (isDone && this.rate !== null) return this.rate;
    const steps = countUpTo(this.instants, ms), took = this.instants[steps - 1] - this.first;
    return took > 0 ? (this.chunksBy(ms) - 1) * this.tokensPerChunk * 1000 / took : null;
  }
  figuresAt(ms, state) {
    const wait = `waited ${seconds((this.first ?? this.ended ?? ms) - this.asked)}`;
    if (state === 'waiting') return `waits ${seconds(ms - this.asked)}`;
    if (state === 'failed') return `${this.ending} after ${seconds(this.ended - this.asked)}`;
    const rate = this.speedBy(ms), tokens = Math.round(this.chunksBy(ms) * this.tokensPerChunk);
    return [`${tokens} tokens`, rate === null ? '' : perSecond(rate), wait].filter(Boolean).join(' · ');
  }
  cellAt(ms, state) {
    const tokens = String(Math.round(this.chunksBy(ms) * this.tokensPerChunk));
    return {waiting: ((ms - this.asked) / 1000).toFixed(1), answering: tokens, done: '✓', failed: '✕'}[state];
  }
}

class Panel {
  constructor(level) {
    this.level = level;
    this.requests = level.requests.map(row => new PlayedRequest(row));
    this.streams = Array.from({length: level.streams}, () => []);
    for (const request of this.requests) this.streams[request.stream].push(request);
    this.sum = make('p', 'sum');
    this.cells = this.streams.length > level.texts ? this.streams.map(() => make('span', 'cell')) : [];
    this.grid = this.cells.length ? make('div', 'grid', this.cells, {role: 'img'}) : null;
    this.cards = this.streams.slice(0, level.texts).map((_, number) => this.makeCard(number));
    const title = make('h2', '', [make('a', '', [level.name], {href: level.page})]);
    const notes = level.notes.map(note => make('p', 'hint', [note]));
    const legend = this.grid ? [make('p', 'hint', [`A cell is a stream: the seconds that it waits, then the tokens that came; ✓ done, ✕ failed. The first ${level.texts} below with their text.`])] : [];
    const list = make('div', 'streams', this.cards.map(card => card.whole));
    this.place = make('section', 'panel', [title, this.sum, ...(this.grid ? [this.grid] : []), ...legend, list, ...notes]);
  }
  makeCard(number) {
    const link = make('a', ''), figures = make('span', 'figures');
    const texts = [make('span', 'thought'), make('span', 'text')];
    const box = make('div', 'said', [make('div', '', texts)], {tabindex: '0', role: 'group', 'aria-label': `text of stream ${number + 1}`});
    return {link, figures, texts, whole: make('div', 'stream', [make('p', 'head', [link, ' ', figures]), box])};
  }
  show(ms) {
    const counts = {waiting: 0, answering: 0, done: 0, failed: 0};
    let tokens = 0;
    const before = Math.max(0, ms - STEP_MS);
    this.streams.forEach((requests, number) => {
      const asked = requests.filter(request => request.asked <= ms), request = asked[asked.length - 1];
      for (const one of asked) {
        counts[one.stateAt(ms)] += 1;
        tokens += (one.chunksBy(ms) - one.chunksBy(before)) * one.tokensPerChunk;
      }
      const state = request ? request.stateAt(ms) : 'free';
      if (this.grid) this.showCell(this.cells[number], request, state, ms);
      if (number < this.cards.length) this.showCard(this.cards[number], request, state, ms);
    });
    // of a full second always: a level's first instants are no rate
    const rate = tokens * 1000 / STEP_MS;
    const failed = counts.failed ? ` · ${counts.failed} failed` : '';
    write(this.sum, `${counts.waiting} waiting · ${counts.answering} answering · ${counts.done} done${failed} · ${perSecond(rate)} in the last second`);
  }
  showCell(cell, request, state, ms) {
    cell.dataset.state = state;
    write(cell, request ? request.cellAt(ms, state) : '');
  }
  showCard(card, request, state, ms) {
    card.whole.dataset.state = state;
    write(card.figures, request ? request.figuresAt(ms, state) : 'not asked yet');
    write(card.link, request ? `Request ${request.number}` : '');
    if (request) card.link.href = `${this.level.page}/request/${request.number}`;
    const texts = request ? request.textsAt(ms) : ['', ''];
    card.texts.forEach((place, number) => write(place, texts[number]));
  }
}

async function load(level) {
  const answer = await fetch(`${player.dataset.levels}/${level}/playback/data`);
  if (answer.ok) return new Panel(await answer.json());
  throw new Error(`level ${level} cannot be read: the server answered ${answer.status}`);
}
function place() {
  places.replaceChildren(...panels.map(panel => panel.place));
  at.max = end() / 1000;
  move(Math.min(now(), end()));
  show();
}
async function choose() {  // what is played beside the page's own level
  const level = beside.value, address = new URL(location);
  if (level) address.searchParams.set('beside', level); else address.searchParams.delete('beside');
  history.replaceState(null, '', address);
  const chosen = level ? [await load(level)] : [];
  if (beside.value === level) panels.splice(1, panels.length, ...chosen);
  place();
}

play.addEventListener('click', () => began ? stop() : start());
back.addEventListener('click', () => move(now() - STEP_MS));
on.addEventListener('click', () => move(now() + STEP_MS));
speed.addEventListener('change', () => { if (began) run(now()); });
at.addEventListener('input', () => move(at.valueAsNumber * 1000));
const report = error => { said.textContent = error.message; };
beside.addEventListener('change', () => choose().catch(report));
const STEPS = {ArrowLeft: -1, ArrowRight: 1}, STEPS_OF_BAR = {ArrowDown: -1, ArrowUp: 1, PageDown: -FAR_STEPS, PageUp: FAR_STEPS};
document.addEventListener('keydown', event => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest('select, .said')) return;
  const steps = STEPS[event.key] ?? (event.target === at ? STEPS_OF_BAR[event.key] : undefined);
  if (event.key === ' ' && !event.target.closest('a, button')) play.click();
  else if (steps) move(now() + steps * STEP_MS);
  else return;
  event.preventDefault();
});

try {
  panels.push(await load(player.dataset.level));
  player.hidden = false;
  place();
  const wanted = new URL(location).searchParams.get('beside') ?? '';
  beside.value = wanted;
  const isThere = beside.value === wanted;
  if (!isThere) beside.value = '';
  if (wanted) await choose();
  if (!calm.matches) start();
  if (!isThere) said.textContent = `There is no level ${wanted} to play beside it`;
} catch (error) {
  report(error);
}
player.dataset.ready = 'yes';
