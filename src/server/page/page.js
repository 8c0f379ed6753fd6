// The status page: takes one report a second and writes it into the document, as text. What stays the same is not
// touched, so that a selection and a screen reader's place survive. Nothing of the data becomes markup, an attribute that
// is run, or a style.
const byId = (id) => document.getElementById(id);
const NONE = "–";
// Control characters, and those that turn the direction of text or cannot be seen.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const plain = (text) => String(text).replace(UNSEEN, (c) => "\\u{" + c.charCodeAt(0).toString(16) + "}");
const whole = new Intl.NumberFormat("en");
const number = (value) => (value === null || value === undefined ? NONE : whole.format(Math.round(value)));

function bytes(value) {
  if (value === null || value === undefined) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (value >= 1024 && at < units.length - 1) { value /= 1024; at += 1; }
  return (at === 0 ? number(value) : value.toFixed(1)) + " " + units[at];
}

function seconds(value) {
  if (value === null || value === undefined) return NONE;
  if (value < 1) return (value * 1000).toFixed(value < 0.01 ? 1 : 0) + " ms";
  if (value < 120) return value.toFixed(1) + " s";
  if (value < 7200) return Math.round(value / 60) + " min";
  return value < 172800 ? Math.round(value / 3600) + " h" : Math.round(value / 86400) + " d";
}

function utc(unix) {
  const time = new Date(unix * 1000);
  return Number.isNaN(time.getTime()) ? NONE : time.toISOString().slice(0, 19).replace("T", " ");
}

function say(element, text) {
  text = plain(text);
  if (element.textContent !== text) element.textContent = text;
}

function mark(element, state) {
  if (element.dataset.state !== state) element.dataset.state = state;
}

// Makes the rows of a table's body those given; a cell is a text, or { text, number, state, meter }.
function fill(body, rows) {
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, index) => {
    const row = body.rows[index] || body.insertRow();
    cells.forEach((cell, column) => {
      let at = row.cells[column];
      if (!at) {
        at = document.createElement(column === 0 ? "th" : "td");
        if (column === 0) at.scope = "row";
        row.append(at);
      }
      if (typeof cell !== "object") cell = { text: cell };
      at.className = cell.number ? "number" : "text";
      if (cell.state) mark(at, cell.state);
      else delete at.dataset.state;
      if (cell.meter) gauge(at, cell.meter);
      else say(at, cell.text);
    });
  });
}

const count = (value) => ({ text: number(value), number: true });
const size = (value) => ({ text: bytes(value), number: true });
const span = (value) => ({ text: seconds(value), number: true });
const alarm = (value) => ({ text: number(value), number: true, state: value > 0 ? "bad" : undefined });

function gauge(cell, { value, max, label }) {
  let meter = cell.querySelector("meter");
  if (!meter) {
    meter = document.createElement("meter");
    cell.replaceChildren(meter);
  }
  meter.max = max;
  meter.high = max * 0.8;
  meter.optimum = 0;
  meter.value = value;
  meter.setAttribute("aria-label", label + ", " + Math.round((100 * value) / Math.max(max, 1)) + " percent");
}

function show(id, rows) {
  byId(id + "-section").hidden = rows.length === 0;
  fill(byId(id), rows);
}

function draw(svg, points, now) {
  const most = Math.max(1, ...points);
  const shift = 300 - points.length;
  const line = points.map((value, at) => shift + at + "," + (58 - (56 * value) / most).toFixed(1)).join(" ");
  svg.querySelector("polyline").setAttribute("points", line);
  svg.querySelector("polygon").setAttribute("points", points.length ? shift + ",60 " + line + " 299,60" : "");
  const label = "Rows per second, last five minutes: now " + number(now) + ", most " + number(Math.max(0, ...points));
  svg.setAttribute("aria-label", label);
}

const STATES = { running: "good", starting: "warn", waiting: "warn", retrying: "warn", failed: "bad", closed: "warn", ended: "warn" };

function showLanes(report) {
  const lanes = byId("lanes");
  while (lanes.children.length > report.lanes.length) lanes.lastElementChild.remove();
  report.lanes.forEach((lane, index) => {
    if (!lanes.children[index]) lanes.append(byId("lane").content.cloneNode(true));
    const card = lanes.children[index];
    const part = (name) => card.querySelector('[data-is="' + name + '"]');
    say(part("lane"), lane.lane);
    say(part("state"), lane.state);
    mark(part("state"), STATES[lane.state]);
    part("error").hidden = lane.error === null;
    say(part("error"), lane.error === null ? "" : lane.error);
    const rate = lane.events.per_second + lane.captures.per_second;
    say(part("rate"), number(rate));
    say(part("rates"), "events " + number(lane.events.per_second) + ", captures " + number(lane.captures.per_second));
    draw(card.querySelector("svg"), lane.history, rate);
    say(part("last"), lane.last_commit === null ? "none yet" : seconds(Math.max(0, report.at - lane.last_commit)) + " ago");
    say(part("oldest"), lane.oldest_seconds === null ? "none" : seconds(lane.oldest_seconds));
    say(part("flight"), number(lane.in_flight_batches) + " of " + number(lane.slots));
    fill(part("kinds"), ["events", "captures"].map((kind) => {
      const of = lane[kind];
      return [kind, count(of.committed), count(of.queued + of.in_flight), alarm(of.rejected), alarm(of.failed)];
    }));
    fill(part("latencies"), [["accepted to committed", lane.latency], ["write", lane.write]].map(([name, of]) =>
      [name, span(of.p50), span(of.p90), span(of.p99)]));
  });
}

function showReport(report) {
  const verdict = byId("verdict");
  say(verdict, report.ready ? "ready" : report.healthy ? "not ready" : "unhealthy");
  mark(verdict, report.ready ? "good" : report.healthy ? "warn" : "bad");
  say(byId("about"), report.version + ", up " + seconds(report.at - report.started_at) + ", " + utc(report.at) + " UTC");
  const problems = byId("problems");
  problems.hidden = report.problems.length === 0;
  while (problems.children.length > report.problems.length) problems.lastElementChild.remove();
  report.problems.forEach((text, index) => {
    if (!problems.children[index]) problems.append(document.createElement("li"));
    say(problems.children[index], text);
  });
  showLanes(report);
  const buffer = report.buffer;
  const queue = (name) => [
    name, { meter: { value: buffer[name].rows, max: buffer[name].max_rows, label: name } },
    count(buffer[name].rows), count(buffer[name].max_rows), alarm(buffer[name].discarded),
  ];
  fill(byId("queues"), [queue("events"), queue("captures"), [
    "bytes", { meter: { value: buffer.bytes, max: buffer.max_bytes, label: "bytes" } },
    size(buffer.bytes), size(buffer.max_bytes), { text: "", number: true },
  ]]);
  show("sources", report.sources.map((source) => [
    source.name, source.kind,
    { text: source.state + (source.why ? ": " + source.why : ""), state: STATES[source.state] },
    count(source.rows), alarm(source.malformed), size(source.lag_bytes),
    { text: source.latest === null ? NONE : seconds(Math.max(0, report.at - source.latest)) + " ago", number: true },
    count(source.peers), source.kernel_drops === null ? count(null) : alarm(source.kernel_drops),
  ]));
  show("rejects", report.lanes.flatMap((lane) =>
    lane.rejects.map((reject) => [lane.lane, reject.kind, reject.reason, alarm(reject.rows)])));
  show("events", report.events.map((event) => [
    utc(event.at), event.sensor, event.service, event.event_type, event.src || NONE, event.dst || NONE, event.msg || "",
  ]));
  show("backends", report.backends.map((figure) => [
    figure.name.replace("forebay_", ""), Object.values(figure.labels).join(", "),
    figure.name.endsWith("_bytes") ? size(figure.value) : count(figure.value),
  ]));
}

function listen() {
  const stream = new EventSource("api/status/stream");
  stream.onmessage = (message) => {
    const report = JSON.parse(message.data);
    if (report.lanes) showReport(report);
  };
  stream.onerror = () => {
    say(byId("verdict"), "no answer; trying again");
    mark(byId("verdict"), "bad");
    // After an answer that is no stream the browser does not try again by itself.
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
  };
}

listen();
