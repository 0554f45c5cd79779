"use strict";
// What a report does beyond being read: recordings behind a cell, thresholds, ticks. Everything that comes from outside
// is put into the page as text, never as markup.
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const { labels, recordings, steps } = data;
  const names = [...labels, ...data.others].map(printable);
  const NOT_HEARD = -1;
  const AT_A_TIME = 100; // rows of a list; more would make a phone wait
  const SCORES_NAMED = 3;

  function printable(text) {
    // The same control codes as on the rest of the page, where Python writes them out.
    const code = (c) => c.codePointAt(0).toString(16);
    return text.replace(
      /[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]/gu,
      (c) => (c < "\u0100" ? `\\x${code(c).padStart(2, "0")}` : `\\u${code(c).padStart(4, "0")}`),
    );
  }

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children); // strings become text
    return made;
  }

  const counted = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
  // Never 0 or 100 %, 0.00 or 1.00, for what is not quite that: the rule of the rest of the page.
  const quite = (value, written, finer) => (value > 0 && value < 1 && /^(0|1|100)(\.00)?$/.test(written) ? finer : written);
  const within = (value, least) => Math.min(Math.max(value, least), 1 - least);
  function percent(share) {
    if (share === null) return "not defined";
    return `${quite(share, `${Math.round(100 * share)}`, (100 * within(share, 0.001)).toFixed(1))}\u00a0%`;
  }
  function decimal(value) {
    if (value === null) return "not defined";
    return quite(value, value.toFixed(2), within(value, 0.001).toFixed(3));
  }
  const exact = (threshold) => Number(threshold.toFixed(5));
  const score = (i, label) => recordings.scores[i][label] / steps;

  function download(name, type, text) {
    const address = URL.createObjectURL(new Blob([text], { type }));
    element("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000); // some browsers read it after the click
  }

  // What is remembered is a convenience: a page from a disk may not be allowed to remember anything.
  const memory = {
    read(key) {
      try {
        return JSON.parse(localStorage.getItem(key)) ?? [];
      } catch {
        return [];
      }
    },
    write(key, value) {
      try {
        localStorage.setItem(key, JSON.stringify(value));
      } catch {
        // Then it lasts as long as the page is open.
      }
    },
  };

  // Pictures and sounds: each is in the page once, asleep in a template or shown with the worst recordings.

  function media(id) {
    const source = byId(id);
    const copy = (source.content?.firstElementChild ?? source).cloneNode(true);
    copy.removeAttribute("id");
    return copy;
  }

  function unfold(details) {
    if (details.open && details.dataset.media && details.childElementCount === 1) {
      details.append(media(details.dataset.media));
    }
  }

  function folded(id, name) {
    const summary = element("summary", { "aria-label": `See and hear it: ${name}` }, "See and hear it");
    return element("details", { "data-media": id }, summary);
  }

  document.addEventListener("toggle", (event) => unfold(event.target), true); // toggle does not bubble
  document.addEventListener(
    "play",
    (event) => {
      for (const other of document.querySelectorAll("audio")) if (other !== event.target) other.pause();
    },
    true,
  );

  // The recordings behind a cell of the matrix

  const panel = byId("panel");
  let behind = [];
  let nShown = 0;

  function open(cell) {
    const truth = Number(cell.dataset.truth);
    const said = Number(cell.dataset.said);
    const other = labels.length; // the row of all labels that the model lacks
    behind = [...recordings.truth.keys()].filter(
      (i) => Math.min(recordings.truth[i], other) === truth && recordings.said[i] === said,
    );
    if (said !== NOT_HEARD) behind.sort((a, b) => score(b, said) - score(a, said));
    const row = truth < other ? names[truth] : "Other labels";
    byId("panel-title").textContent =
      said === NOT_HEARD ? `${row}, not heard` : truth === said ? `${row}, rightly` : `${row} taken for ${names[said]}`;
    byId("panel-list").replaceChildren();
    nShown = 0;
    more();
    panel.showModal();
    panel.scrollTop = 0;
    byId("panel-title").focus();
  }

  function more() {
    const next = behind.slice(nShown, nShown + AT_A_TIME);
    byId("panel-list").append(...next.map((i) => item(i)));
    nShown += next.length;
    const all = nShown === behind.length;
    byId("panel-status").textContent =
      all ? counted(nShown, "recording") : `${nShown} of ${counted(behind.length, "recording")}`;
    byId("panel-more").hidden = all;
  }

  function item(i) {
    const truth = recordings.truth[i];
    const said = recordings.said[i];
    const facts = [["Truth", truth, "truth"]];
    if (said !== NOT_HEARD && said !== truth) facts.push(["Predicted", said, "said"]);
    const list = element("dl");
    for (const [role, label, kind] of facts) {
      const known = recordings.scores[i][label] !== undefined;
      list.append(fact(role, element("span", { class: `name ${kind}` }, names[label]), known ? decimal(score(i, label)) : ""));
    }
    const group = data.groups[recordings.group[i]];
    if (group !== recordings.path[i]) list.append(fact("Group", printable(group)));
    if (data.reasons[i]) list.append(fact(said === NOT_HEARD ? "Reason" : "Called", printable(data.reasons[i])));
    if (said !== NOT_HEARD) list.append(fact("Length", `${recordings.seconds[i]} s`), fact("Scores", highest(i)));
    const made = element("li", {}, element("h3", { class: "path" }, called(i)), list);
    const id = `media-${i}`;
    made.append(byId(id) ? folded(id, called(i)) : element("p", { class: "note" }, "Its sound is not in this page."));
    return made;
  }

  function called(i) {
    const stretch = recordings.stretch?.[i];
    return printable(recordings.path[i]) + (stretch ? `, ${stretch[0]} to ${stretch[1]} s` : "");
  }

  function fact(name, ...values) {
    return element("div", {}, element("dt", {}, name), element("dd", { class: "score path" }, ...values.flatMap((v) => [v, " "])));
  }

  function highest(i) {
    const order = [...labels.keys()].sort((a, b) => recordings.scores[i][b] - recordings.scores[i][a]);
    return order.slice(0, SCORES_NAMED).map((label) => `${names[label]} ${decimal(score(i, label))}`).join(", ");
  }

  document.querySelector(".matrix")?.addEventListener("click", (event) => {
    const cell = event.target.closest("button");
    if (cell) open(cell);
  });
  byId("panel-more").addEventListener("click", more);
  byId("panel-close").addEventListener("click", () => panel.close());
  panel.addEventListener("click", (event) => {
    const box = panel.getBoundingClientRect(); // its padding is not beside it
    const { clientX: x, clientY: y } = event;
    if (event.target === panel && (x < box.left || x > box.right || y < box.top || y > box.bottom)) panel.close();
  });
  panel.addEventListener("close", () => byId("panel-list").replaceChildren()); // which also ends its sounds

  // Thresholds: null lets the highest score win

  const first = data.positive === null ? null : 0.5;
  const chosen = new Map(labels.map((_, label) => [label, data.thresholds[label] ?? first]));
  const label = () => Number(byId("threshold-label").value);

  function winner(i) {
    // What was said may follow thresholds that came with the model; of equal scores it is right about which is higher.
    const most = Math.max(...recordings.scores[i]);
    const said = recordings.said[i];
    return recordings.scores[i][said] === most ? said : recordings.scores[i].indexOf(most);
  }

  function outcome(of, threshold) {
    const found = { hits: 0, falseAlarms: 0, missed: 0, rest: 0 };
    recordings.truth.forEach((truth, i) => {
      const heard = recordings.said[i] !== NOT_HEARD;
      const says = heard && (threshold === null ? winner(i) === of : score(i, of) >= threshold);
      found[truth === of ? (says ? "hits" : "missed") : says ? "falseAlarms" : "rest"] += 1;
    });
    return figures(found);
  }

  function figures({ hits, falseAlarms, missed, rest }) {
    const claimed = hits + falseAlarms;
    const all = hits + missed;
    return {
      hits, falseAlarms, missed, rest, claimed, all,
      precision: claimed ? hits / claimed : null,
      recall: all ? hits / all : null,
      f1: claimed + all ? (2 * hits) / (claimed + all) : null,
    };
  }

  function show() {
    const of = label();
    const threshold = chosen.get(of);
    const now = outcome(of, threshold);
    const slider = byId("threshold-slider");
    slider.value = threshold ?? 0.5;
    slider.setAttribute("aria-valuetext", threshold === null ? "none, the highest score wins" : decimal(threshold));
    byId("threshold-value").value = threshold === null ? "" : exact(threshold);
    const rule = threshold === null ? "While the highest score wins" : `At ${exact(threshold)}`;
    byId("threshold-said").textContent =
      `${rule}, the model says ${names[of]} of ${counted(now.claimed, "recording")}; ${now.hits} of them are. ` +
      `It misses ${now.missed} of the ${now.all} that are.`;
    byId("live-precision").textContent = percent(now.precision);
    byId("live-recall").textContent = percent(now.recall);
    byId("live-f1").textContent = decimal(now.f1);
    for (const [id, n] of [["found", now.hits], ["false", now.falseAlarms], ["missed", now.missed], ["rest", now.rest]]) {
      byId(`live-${id}`).textContent = n.toLocaleString("en");
    }
    byId("export-said").textContent = "";
    drawPoint(of, now);
  }

  function drawPoint(of, { precision, recall }) {
    const figure = byId("threshold-curve");
    const curve = byId(`curve-${of}`)?.querySelector("svg").cloneNode(true);
    figure.replaceChildren(...(curve ? [curve] : []));
    if (!curve || precision === null || recall === null) return;
    const area = Number(figure.dataset.area); // pixels of its height that are the curve's
    const point = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    const place = { cx: `${100 * recall}%`, cy: area * (1 - precision), r: 7, class: "point" };
    for (const [key, value] of Object.entries(place)) point.setAttribute(key, value);
    curve.append(point);
  }

  function choose(threshold) {
    chosen.set(label(), threshold);
    byId("goal-said").textContent = "";
    show();
  }

  function reaching(kind, wanted) {
    // Of all thresholds that reach the goal, the one that gives up least of the other figure.
    const of = label();
    const heard = [...recordings.said.keys()].filter((i) => recordings.said[i] !== NOT_HEARD);
    heard.sort((a, b) => score(b, of) - score(a, of));
    const all = recordings.truth.filter((truth) => truth === of).length;
    let hits = 0;
    let best = null;
    let most = 0;
    heard.forEach((i, rank) => {
      hits += recordings.truth[i] === of;
      const next = heard[rank + 1];
      if (next !== undefined && score(next, of) === score(i, of)) return; // one threshold lets both in
      const reached = kind === "precision" ? hits / (rank + 1) : all && hits / all;
      most = Math.max(most, reached);
      // Half a step lower, as the score was rounded when it was written into this page.
      if (reached >= wanted && (kind === "precision" || best === null)) best = Math.max(score(i, of) - 0.5 / steps, 0);
    });
    return { threshold: best, most };
  }

  function pursue(event) {
    event.preventDefault();
    const kind = byId("goal-kind").value;
    const share = byId("goal-share").valueAsNumber;
    if (!(share >= 0 && share <= 100)) return;
    const { threshold, most } = reaching(kind, share / 100);
    if (threshold !== null) choose(threshold);
    byId("goal-said").textContent =
      threshold === null ? `No threshold reaches that here; the highest ${kind} is ${percent(most)}.` :
      `${exact(threshold)} is the ${kind === "precision" ? "lowest" : "highest"} threshold that reaches it.`;
  }

  function exportThresholds() {
    const set = [...chosen].filter(([of, value]) => value !== null && (data.positive === null || of === data.positive));
    if (!set.length) {
      byId("export-said").textContent = "No label has a threshold yet: move the slider first.";
      return;
    }
    // Written by hand, as a label may be called __proto__ and JSON.stringify would lose it.
    const lines = set.map(([of, value]) => `    ${JSON.stringify(labels[of])}: ${Number(value.toFixed(9))}`);
    download(
      "thresholds.json",
      "application/json",
      `{\n  "schema": "audiocnn.thresholds/1",\n  "model": ${JSON.stringify(data.model)},\n  "thresholds": {\n${lines.join(",\n")}\n  }\n}\n`,
    );
    byId("export-said").textContent = `Saved with ${counted(set.length, "label")}; labels without a threshold are left out.`;
  }

  byId("threshold-label").addEventListener("change", () => choose(chosen.get(label())));
  byId("threshold-slider").addEventListener("input", (event) => choose(event.target.valueAsNumber));
  byId("threshold-value").addEventListener("change", ({ target }) => {
    if (target.value === "") choose(first);
    else choose(Math.min(Math.max(target.valueAsNumber, 0), 1));
  });
  byId("threshold-goal").addEventListener("submit", pursue);
  byId("threshold-reset").addEventListener("click", () => choose(first));
  byId("threshold-export").addEventListener("click", exportThresholds);

  // Labels that may be wrong

  const boxes = [...document.querySelectorAll("[data-suspect]")];
  const ticksKey = `audiocnn.relabel/${data.model}`;
  const keyOf = (box) => JSON.stringify(data.suspects[box.dataset.suspect]);

  function nTicked() {
    const ticked = boxes.filter((box) => box.checked);
    byId("relabel-said").textContent = `${ticked.length} of ${counted(boxes.length, "recording")} ticked.`;
    return ticked;
  }

  function cell(value) {
    const text = String(value);
    const safe = /^[=+\-@]/.test(text) ? `'${text}` : text; // a spreadsheet would run it
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  }

  function exportLabels() {
    const stretches = data.suspects.some((one) => one.length > 3);
    const rows = boxes.map((box) => {
      const [path, given, suggested, start = "", end = ""] = data.suspects[box.dataset.suspect];
      return [path, given, suggested, box.checked ? "yes" : "no", ...(stretches ? [start, end] : [])];
    });
    const columns = ["path", "label", "suggested", "ticked", ...(stretches ? ["start_s", "end_s"] : [])];
    download("relabel.csv", "text/csv", [columns, ...rows].map((row) => `${row.map(cell).join(",")}\n`).join(""));
  }

  if (boxes.length) {
    const before = new Set(memory.read(ticksKey));
    for (const box of boxes) {
      box.checked = before.has(keyOf(box));
      box.addEventListener("change", () => memory.write(ticksKey, nTicked().map(keyOf)));
    }
    nTicked();
    byId("relabel-export").addEventListener("click", exportLabels);
  }

  for (const one of document.querySelectorAll("[data-script]")) one.hidden = false;
  for (const one of document.querySelectorAll("[data-no-script]")) one.remove();
  show();
})();
