// Draws the charts of a page when they are looked at and, for paper, the others after them; leads from a mark to what it shows, and
// filters the requests by a region of the timeline.
const look = JSON.parse(document.getElementById('look').textContent);
const waiting = new IntersectionObserver(seen => {
  for (const {target, isIntersecting} of seen) {
    if (!isIntersecting) continue;
    load(target);
  }
}, {rootMargin: '400px'});
for (const place of document.querySelectorAll('.chart')) waiting.observe(place);
addEventListener('load', () => setTimeout(async () => {  // one at a time: who looks goes first
  for (const place of document.querySelectorAll('.chart')) await load(place);
}, 1000));
async function load(place) {
  if (place.loads) return;
  place.loads = true;
  waiting.unobserve(place);
  const inside = place.querySelector('script');
  if (inside) return draw(place, JSON.parse(inside.textContent));
  place.setAttribute('aria-busy', 'true');
  const answer = await fetch(place.dataset.source);
  place.removeAttribute('aria-busy');
  const spec = answer.ok ? await answer.json() : null;
  if (spec) return draw(place, spec);
  // nothing of this kind was measured
  place.closest('figure').remove();
}
async function draw(place, spec) {
  place.spec = spec;
  const own = fit(structuredClone(spec), place.clientWidth);
  const isTimeline = /\/chart\/timeline\?/.test(place.dataset.source || '');
  if (isTimeline) brush(own);
  const actions = {export: true, source: false, compiled: false, editor: false};
  const {view} = await vegaEmbed(place, own, {config: look, ast: true, renderer: 'svg', actions});
  declutter(place);
  describe(place);
  if (place.dataset.source) view.addEventListener('click', (event, item) => { if (item && item.datum) follow(item.datum, place); });
  if (isTimeline && document.getElementById('requests'))
    view.addSignalListener('zoom', (name, region) => filter(region));
  place.dataset.drawn = 'yes';
}
function brush(spec) {  // dragging chooses a stretch of time instead of moving the picture
  for (const param of spec.params || []) {
    if (param.name !== 'zoom') continue;
    delete param.bind;
    param.select = {type: 'interval', encodings: ['x']};
  }
}
const levels = JSON.parse(document.getElementById('levels')?.textContent || '[]');
function follow(datum, place) {  // to the one level that a mark shows, or its request; to a run among others
  if (datum.hosts) return location.assign(datum.run_id);
  const study = datum.study?.trim() ?? new URL(place.dataset.source, location).searchParams.get('study');
  const shown = levels.filter(one => datum.level_id === undefined
    ? one.study === study && one.concurrency === datum.concurrency && one.repeat === (datum.repeat ?? one.repeat)
    : one.level_id === datum.level_id);
  if (shown.length !== 1) return;
  location.href = datum.number ? `${shown[0].page}/request/${datum.number}` : shown[0].page;
}
const rows = [...document.querySelectorAll('#requests tbody tr')], controls = document.querySelector('#requests .filter');
const from = document.getElementById('from'), to = document.getElementById('to');
if (controls && rows.length) {
  controls.hidden = false;
  for (const input of [from, to]) input.addEventListener('input', show);
  document.getElementById('whole').addEventListener('click', () => { from.value = to.value = ''; show(); });
}
function filter(region) {
  const [low, high] = Object.values(region)[0] || ['', ''];
  from.value = low === '' ? '' : low.toFixed(2);
  to.value = high === '' ? '' : high.toFixed(2);
  show();
}
function show() {
  const low = from.value === '' ? -Infinity : Number(from.value), high = to.value === '' ? Infinity : Number(to.value);
  let count = 0;
  for (const row of rows) {
    const isAlways = low === -Infinity && high === Infinity;
    row.hidden = !isAlways && !(Number(row.dataset.to) >= low && Number(row.dataset.from) <= high);
    count += !row.hidden;
  }
  document.getElementById('shown').textContent = count === rows.length ? '' : `${count} of ${rows.length} were under way then`;
}
let before = innerWidth, timer;
addEventListener('resize', () => {
  if (innerWidth === before || matchMedia('print').matches) return;
  before = innerWidth;
  clearTimeout(timer);
  timer = setTimeout(() => {
    for (const place of document.querySelectorAll('.chart')) if (place.spec) draw(place, place.spec);
  }, 200);
});
