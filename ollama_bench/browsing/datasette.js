// Of Datasette's own pages of a results file: what is looked for first stands first.
const fold = (inside, title) => {
  const folded = document.createElement('details'), heading = document.createElement('summary');
  heading.textContent = title;
  inside.replaceWith(folded);
  folded.append(heading, inside);
};
// each card asks for its own answer
for (const place of document.querySelectorAll('.ob-cards [data-source]')) {
  fetch(place.dataset.source)
    .then(answer => answer.ok ? answer.text() : '')
    .then(text => { place.innerHTML = text; });
}
const tables = document.getElementById('tables'), views = document.getElementById('views');
if (tables && views) tables.before(views, views.nextElementSibling);
for (const columns of document.querySelectorAll('.db-table > p:has(> em)')) fold(columns, 'its columns');
const columns = document.querySelector('dl.column-descriptions');
if (columns) fold(columns, 'What the columns mean');
// what names a page's parts to who does not see them, where Datasette does not
document.documentElement.lang ||= 'en';
addEventListener('load', () => {
  for (const field of document.querySelectorAll('select, textarea, input[type=text]'))
    if (!field.labels?.length) field.ariaLabel ??= (field.name || 'sql').replaceAll('_', ' ').trim();
});
