// How a chart is laid out where it stands; page.js and browse.js draw with it.
const AXIS = 92, NARROW = 620, LETTER = 7.2, RED = '#d7301f';  // room for an axis and its title; below NARROW plots lie below each other; px of a letter
function fit(spec, width) {
  const parts = spec.vconcat || spec.concat;
  if (parts) {
    const columns = spec.concat && width >= NARROW ? spec.columns : 1;
    if (spec.concat) spec.columns = columns;
    parts.forEach(part => fit(part, width / columns));
    return spec;
  }
  spec.width = Math.max(120, width - AXIS);
  wrap(spec, spec.width, spec.height);
  return spec;
}
function wrap(spec, width, height) {  // titles in lines that fit their axis, legends in columns that fit the page
  for (const [channel, length] of [['x', width], ['y', height]]) {
    const axis = spec.encoding && spec.encoding[channel];
    if (axis && typeof axis.title === 'string') axis.title = lines(axis.title, length / LETTER);
  }
  for (const channel of ['color', 'strokeDash']) {
    const coded = spec.encoding && spec.encoding[channel];
    if (coded && coded.field && coded.legend !== null && width < NARROW && coded.type === 'nominal')
      coded.legend = {...coded.legend, columns: 2, labelLimit: width / 2 + 24};
  }
  (spec.layer || []).forEach(part => wrap(part, width, height));
}
function lines(text, most) {
  const found = [''];
  for (const word of text.split(' ')) {
    const last = found[found.length - 1];
    if (last && last.length + word.length + 1 > most) found.push(word);
    else found[found.length - 1] = last ? last + ' ' + word : word;
  }
  return found;
}
function declutter(place) {  // numbers that would lie on another are left out; a text and its halo share their fate
  const taken = [], fates = {}, texts = [...place.querySelectorAll('.mark-text.role-mark text')];
  const failures = texts.filter(text => text.getAttribute('fill') === RED);  // they stay
  for (const text of failures.concat(texts)) {
    const box = text.getBoundingClientRect(), key = [text.textContent, Math.round(box.x), Math.round(box.y)].join();
    if (!(key in fates)) {
      fates[key] = taken.some(other => box.x < other.right + 2 && other.x < box.right + 2 && box.y < other.bottom - 2 && other.y < box.bottom - 2);
      if (!fates[key]) taken.push(box);
    }
    if (fates[key]) text.style.display = 'none';
  }
}
function describe(place) {  // one picture with the title of its figure; the tables have its figures in text
  const svg = place.querySelector('svg.marks'), title = place.closest('figure').querySelector('h2, h3');
  for (const part of svg.querySelectorAll('[role], [aria-label]'))
    for (const name of ['role', 'aria-label', 'aria-roledescription']) part.removeAttribute(name);
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', title.textContent);
}
