// ---- details.js: all that is known of one row ---------------------------------------------------

const FIELDS = {
  pretraining: 'Pre-training', pretraining_data: 'on', pretraining_epochs: 'epochs',
  teacher: 'Teacher', fine_tuning: 'Fine-tuning before', head: 'Head', schedule: 'Schedule',
  crop: 'Crop', test_mode: 'Test',
};

/** Terms and what is said of each; null where nothing is said of any. */
function terms(pairs) {
  const known = pairs.filter(([, value]) => value !== undefined && value !== null && value !== '');
  if (!known.length) return null;
  return el('dl', { class: 'terms' }, known.map(([name, value]) => (
    el('div', {}, el('dt', {}, name), el('dd', {}, value)))));
}

function part(title, ...content) {
  const there = content.filter(Boolean);
  return there.length ? el('section', {}, el('h3', {}, title), there) : null;
}

function smallTable(heads, rows) {
  return el('div', { class: 'rows' }, el('table', { class: 'plain' },
    el('thead', {}, el('tr', {}, heads.map((head) => el('th', { scope: 'col' }, head)))),
    el('tbody', {}, rows.map((cells) => (
      el('tr', {}, cells.map((cell) => el('td', {}, cell ?? '–'))))))));
}

/** Put a text on the clipboard; a page opened from disk may need the older way. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch (error) {
    const field = el('textarea', { class: 'unseen' });
    field.value = text;
    (byId('details').open ? byId('details') : document.body).append(field);
    field.select();
    const done = document.execCommand('copy');
    field.remove();
    return done;
  }
}

function copyButton(label, textOf) {
  const button = el('button', { type: 'button', class: 'quiet' }, label);
  button.addEventListener('click', async () => {
    button.textContent = (await copyText(textOf())) ? 'Copied' : 'Not copied';
    setTimeout(() => { button.textContent = label; }, 1500);
  });
  return button;
}

function scoresPart(row) {
  const metrics = row.board.metrics.filter((metric) => row.scores[metric.key]);
  const rows = metrics.map((metric) => {
    const score = row.scores[metric.key];
    return [
      titled(metric), mean(score, metric, row.board.origin),
      spread(score, metric) || null, row.board.origin === 'published' ? null : String(score.runs),
    ];
  });
  const counted = row.expected !== undefined
    ? [['Evaluated', `${number(row.evaluated ?? 0)} of ${row.expected === null ? '?'
      : number(row.expected)}${row.incomplete ? ': incomplete, not ranked' : ''}`]]
    : [];
  if (row.seeds) counted.push(['Seeds', row.seeds.join(', ')]);
  return part('Scores', smallTable(['Metric', 'Mean', 'Std over seeds', 'Runs'], rows),
    terms(counted));
}

function sizePart(row) {
  const { backbone_parameters: backbone, parameters: total, backbone_macs: partly, macs: all,
    input } = row.size;
  const say = (value, text) => (value === undefined ? null : text(value));
  return part('Size', terms([
    ['Parameters, backbone', say(backbone, (v) => `${number(v)} (${millions(v)})`)],
    ['Parameters, total', say(total, (v) => `${number(v)} (${millions(v)})`)],
    ['MACs, backbone', say(partly, macs)],
    ['MACs, total', say(all, macs)],
    ['MACs counted at', input],
  ]));
}

function speedsPart(row) {
  if (!row.speeds.length) return null;
  const rows = row.speeds.map((speed) => [
    speedText(speed), deviceText(speed), speed.of,
    [speed.runtime, speed.precision, speed.threads && plural(speed.threads, 'thread')]
      .filter(Boolean).join(', ') || NOT_STATED,
    speed.source || (row.board.origin === 'published' ? 'as the row' : 'measured here'),
  ]);
  return part('Speeds', smallTable(['Speed', 'Device', 'Of', 'Set-up', 'From'], rows),
    el('p', { class: 'note' }, 'A speed holds on its device. Absolute CPU frames/s do not carry '
      + 'over from one machine to another.'));
}

function sourcePart(row) {
  const url = row.url && safeUrl(row.url);
  const address = url
    ? el('a', { href: url, rel: 'noopener noreferrer', target: '_blank' }, row.url)
    : row.url;
  return part('Source', terms([['From', row.source], ['Address', address]]));
}

function runPart(row) {
  const elsewhere = /(^|[^\w.])\.\.\.\//.test(row.command || '') // as records write such paths
    ? el('p', { class: 'note' }, '"..." stands for a folder outside the project: put yours in.')
    : null;
  const command = row.command
    ? el('div', { class: 'command' }, el('pre', { tabindex: '0' }, el('code', {}, row.command)),
      el('div', { class: 'copy' }, elsewhere, copyButton('Copy command', () => row.command)))
    : null;
  const code = (text) => (text ? el('code', {}, text) : null);
  const title = row.board.origin === 'published' ? 'Here' : 'The run';
  return part(title, command, terms([
    ['Config', code(row.config)], ['Checkpoint', code(row.checkpoint)],
    ['SHA-256', code(row.sha256)], ['Commit', code(row.commit)], ['Date', row.date],
    ['Records', row.records && row.records.map((name) => el('div', {}, code(name)))],
  ]));
}

/** A curve as a small picture, its extremes in words. */
function curvePicture(name, curve) {
  const [w, h, left, bottom] = [420, 190, 58, 34];
  const [x0, x1] = [Math.min(...curve.x), Math.max(...curve.x)];
  const [y0, y1] = [Math.min(...curve.y), Math.max(...curve.y)];
  const px = (x) => left + ((x - x0) / (x1 - x0 || 1)) * (w - left - 10);
  const py = (y) => h - bottom - ((y - y0) / (y1 - y0 || 1)) * (h - bottom - 12);
  const line = curve.x.map((x, i) => `${i ? 'L' : 'M'}${px(x).toFixed(1)} ${py(curve.y[i]).toFixed(1)}`);
  const text = (value) => (Math.abs(value) >= 1000 ? number(value) : String(Number(value.toPrecision(3))));
  const label = `${name}: ${curve.y_label} from ${text(curve.y[0])} to `
    + `${text(curve.y[curve.y.length - 1])}, least ${text(y0)}, most ${text(y1)}; `
    + `${curve.x_label} ${text(x0)} to ${text(x1)}`;
  const ticks = [y0, y1].map((y) => [
    svg('line', { class: 'grid', x1: left, x2: w - 10, y1: py(y), y2: py(y) }),
    svg('text', { x: left - 6, y: py(y) + 4, 'text-anchor': 'end' }, text(y))]);
  return el('figure', { class: 'curve' },
    svg('svg', { viewBox: `0 0 ${w} ${h}`, role: 'img', 'aria-label': label }, ticks,
      svg('path', { class: 'line', d: line.join('') }),
      curve.x.length === 1 ? svg('circle', { class: 'dot', cx: px(x0), cy: py(y0), r: 3 }) : null,
      svg('text', { x: left, y: h - 16 }, text(x0)),
      svg('text', { x: w - 10, y: h - 16, 'text-anchor': 'end' }, text(x1)),
      svg('text', { x: (left + w) / 2, y: h - 3, 'text-anchor': 'middle' },
        shorten(curve.x_label, 50))),
    el('figcaption', {}, el('b', {}, name), ` ${curve.y_label}`));
}

/** Fill the dialog with a row. */
function fillDetails(row, onClose) {
  const board = row.board;
  const rank = row.rank ? `rank ${row.rank} of ${plural(board.rows.length, 'row')}` : 'not ranked';
  const curves = Object.entries(row.curves || {}).map(([name, one]) => curvePicture(name, one));
  const recipe = Object.entries(FIELDS).map(([key, title]) => [title, row.recipe[key]])
    .map(([title, value]) => [title, typeof value === 'number' ? number(value) : value]);
  const close = el('button', { type: 'button', class: 'quiet', onclick: onClose }, 'Close');
  byId('details').replaceChildren(
    el('div', { class: 'bar' }, copyButton('Copy link', () => location.href), close),
    el('div', { class: 'content' },
      el('h2', { id: 'details-title', tabindex: '-1' }, row.model,
        row.variant ? el('span', { class: 'variant' }, row.variant) : null),
      el('p', { class: 'about' }, badge(board.origin), el('span', {}, board.taskTitle),
        el('span', {}, boardName(board)), board.protocol ? el('code', {}, board.protocol) : null,
        board.place ? el('span', {}, board.place) : null, el('span', {}, rank)),
      row.remarks.length
        ? el('div', { class: 'remarks' }, el('h3', {}, 'To know'),
          el('ul', {}, row.remarks.map((text) => el('li', {}, text))))
        : null,
      scoresPart(row), part('How it was made', terms(recipe)), sizePart(row), speedsPart(row),
      sourcePart(row), runPart(row),
      part('Environment', terms(Object.entries(row.environment || {}))),
      curves.length ? part('Curves', el('div', { class: 'curves' }, curves)) : null));
}
