const specs = JSON.parse(document.getElementById('specs').textContent);
const look = JSON.parse(document.getElementById('look').textContent);
async function draw() {
  for (const place of document.querySelectorAll('.chart')) {
    const spec = fit(structuredClone(specs[place.dataset.spec]), place.clientWidth);
    const actions = {export: true, source: false, compiled: false, editor: false};
    await vegaEmbed(place, spec, {config: look, ast: true, renderer: 'svg', actions});
    declutter(place);
    describe(place);
  }
  document.documentElement.dataset.drawn = document.querySelectorAll('.chart svg.marks').length;
}
let waiting, drawing = draw();
function again() { clearTimeout(waiting); waiting = setTimeout(() => { drawing = drawing.then(draw); }, 200); }
let before = innerWidth;
addEventListener('resize', () => { if (innerWidth !== before && !matchMedia('print').matches) { before = innerWidth; again(); } });
