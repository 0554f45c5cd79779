"use strict";
// The interactive parts of a report: the recordings of a cell, thresholds, ticks. All text from outside is inserted as
// text, never as markup.
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const { labels, recordings, steps } = data;
  const names = [...labels, ...data.others].map(printable);
  const NO_PREDICTION = -1;
  const AT_A_TIME = 100; // rows of a list; more are slow on a phone
  const N_SCORES = 3;

  function printable(text) {
    // Escapes the same control codes as `audiocnn.text.printable`.
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
  // As in `audiocnn.wording`: 0 and 100 %, 0.00 and 1.00 are written for exact values only.
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
    setTimeout(() => URL.revokeObjectURL(address), 10_000); // some browsers read the address after the click
  }

  // Storage is optional: a browser may deny it to a page from a disk.
  const storage = {
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
        // The ticks last until the page is closed.
      }
    },
  };

  // Pictures and sounds: each is in the page once, in a template or with the worst errors.

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

  // The recordings of a cell of the confusion matrix

  const panel = byId("panel");
  let listed = [];
  let nShown = 0;

  function open(cell) {
    const truth = Number(cell.dataset.truth);
    const predicted = Number(cell.dataset.predicted);
    const other = labels.length; // the row of all labels that the model lacks
    listed = [...recordings.truth.keys()].filter(
      (i) => Math.min(recordings.truth[i], other) === truth && recordings.said[i] === predicted,
    );
    if (predicted !== NO_PREDICTION) listed.sort((a, b) => score(b, predicted) - score(a, predicted));
    const row = truth < other ? names[truth] : "Other labels";
    byId("panel-title").textContent =
      predicted === NO_PREDICTION ? `${row}, no prediction`
      : truth === predicted ? `${row}, correct`
      : `${row} predicted as ${names[predicted]}`;
    byId("panel-list").replaceChildren();
    nShown = 0;
    more();
    panel.showModal();
    panel.scrollTop = 0;
    byId("panel-title").focus();
  }

  function more() {
    const next = listed.slice(nShown, nShown + AT_A_TIME);
    byId("panel-list").append(...next.map((i) => item(i)));
    nShown += next.length;
    const all = nShown === listed.length;
    byId("panel-status").textContent =
      all ? counted(nShown, "recording") : `${nShown} of ${counted(listed.length, "recording")}`;
    byId("panel-more").hidden = all;
  }

  function item(i) {
    const truth = recordings.truth[i];
    const predicted = recordings.said[i];
    const facts = [["Truth", truth, "truth"]];
    if (predicted !== NO_PREDICTION && predicted !== truth) facts.push(["Predicted", predicted, "said"]);
    const list = element("dl");
    for (const [role, label, kind] of facts) {
      const known = recordings.scores[i][label] !== undefined;
      list.append(fact(role, element("span", { class: `name ${kind}` }, names[label]), known ? decimal(score(i, label)) : ""));
    }
    const group = data.groups[recordings.group[i]];
    if (group !== recordings.path[i]) list.append(fact("Group", printable(group)));
    if (data.reasons[i]) list.append(fact(predicted === NO_PREDICTION ? "Reason" : "Status", printable(data.reasons[i])));
    if (predicted !== NO_PREDICTION) list.append(fact("Length", `${recordings.seconds[i]} s`), fact("Scores", highest(i)));
    const made = element("li", {}, element("h3", { class: "path" }, called(i)), list);
    const id = `media-${i}`;
    made.append(byId(id) ? folded(id, called(i)) : element("p", { class: "note" }, "This page does not contain its sound."));
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
    return order.slice(0, N_SCORES).map((label) => `${names[label]} ${decimal(score(i, label))}`).join(", ");
  }

  document.querySelector(".matrix")?.addEventListener("click", (event) => {
    const cell = event.target.closest("button");
    if (cell) open(cell);
  });
  byId("panel-more").addEventListener("click", more);
  byId("panel-close").addEventListener("click", () => panel.close());
  panel.addEventListener("click", (event) => {
    const box = panel.getBoundingClientRect(); // a click on its padding is inside
    const { clientX: x, clientY: y } = event;
    if (event.target === panel && (x < box.left || x > box.right || y < box.top || y > box.bottom)) panel.close();
  });
  panel.addEventListener("close", () => byId("panel-list").replaceChildren()); // this also stops its sounds

  // Thresholds: null stands for none, the label with the highest score is predicted

  const first = data.positive === null ? null : 0.5;
  const chosen = new Map(labels.map((_, label) => [label, data.thresholds[label] ?? first]));
  const label = () => Number(byId("threshold-label").value);

  function winner(i) {
    // The prediction may follow thresholds that came with the model. Among equal rounded scores it knows the highest.
    const most = Math.max(...recordings.scores[i]);
    const predicted = recordings.said[i];
    return recordings.scores[i][predicted] === most ? predicted : recordings.scores[i].indexOf(most);
  }

  function outcome(of, threshold) {
    const found = { hits: 0, falseAlarms: 0, missed: 0, rest: 0 };
    recordings.truth.forEach((truth, i) => {
      const scored = recordings.said[i] !== NO_PREDICTION;
      const claimed = scored && (threshold === null ? winner(i) === of : score(i, of) >= threshold);
      found[truth === of ? (claimed ? "hits" : "missed") : claimed ? "falseAlarms" : "rest"] += 1;
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
    slider.setAttribute("aria-valuetext", threshold === null ? "none, the highest score is used" : decimal(threshold));
    byId("threshold-value").value = threshold === null ? "" : exact(threshold);
    const rule = threshold === null ? "Without a threshold" : `At ${exact(threshold)}`;
    byId("threshold-status").textContent =
      `${rule}, the model predicts ${names[of]} for ${counted(now.claimed, "recording")}; ${now.hits} of them have it. ` +
      `It misses ${now.missed} of the ${now.all} that have it.`;
    byId("live-precision").textContent = percent(now.precision);
    byId("live-recall").textContent = percent(now.recall);
    byId("live-f1").textContent = decimal(now.f1);
    for (const [id, n] of [["found", now.hits], ["false", now.falseAlarms], ["missed", now.missed], ["rest", now.rest]]) {
      byId(`live-${id}`).textContent = n.toLocaleString("en");
    }
    byId("export-status").textContent = "";
    drawPoint(of, now);
  }

  function drawPoint(of, { precision, recall }) {
    const figure = byId("threshold-curve");
    const curve = byId(`curve-${of}`)?.querySelector("svg").cloneNode(true);
    figure.replaceChildren(...(curve ? [curve] : []));
    if (!curve || precision === null || recall === null) return;
    const area = Number(figure.dataset.area); // height of the plot area in pixels
    const point = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    const place = { cx: `${100 * recall}%`, cy: area * (1 - precision), r: 7, class: "point" };
    for (const [key, value] of Object.entries(place)) point.setAttribute(key, value);
    curve.append(point);
  }

  function choose(threshold) {
    chosen.set(label(), threshold);
    byId("goal-status").textContent = "";
    show();
  }

  function thresholdFor(kind, goal) {
    // Of all thresholds that reach the goal, the one that costs the other figure least.
    const of = label();
    const scored = [...recordings.said.keys()].filter((i) => recordings.said[i] !== NO_PREDICTION);
    scored.sort((a, b) => score(b, of) - score(a, of));
    const all = recordings.truth.filter((truth) => truth === of).length;
    let hits = 0;
    let best = null;
    let most = 0;
    scored.forEach((i, rank) => {
      hits += recordings.truth[i] === of;
      const next = scored[rank + 1];
      if (next !== undefined && score(next, of) === score(i, of)) return; // a threshold includes both
      const reached = kind === "precision" ? hits / (rank + 1) : all && hits / all;
      most = Math.max(most, reached);
      // Half a step lower, because the scores in this page are rounded.
      if (reached >= goal && (kind === "precision" || best === null)) best = Math.max(score(i, of) - 0.5 / steps, 0);
    });
    return { threshold: best, most };
  }

  function findThreshold(event) {
    event.preventDefault();
    const kind = byId("goal-kind").value;
    const share = byId("goal-share").valueAsNumber;
    if (!(share >= 0 && share <= 100)) return;
    const { threshold, most } = thresholdFor(kind, share / 100);
    if (threshold !== null) choose(threshold);
    byId("goal-status").textContent =
      threshold === null ? `No threshold reaches this goal; the highest ${kind} is ${percent(most)}.` :
      `${exact(threshold)} is the ${kind === "precision" ? "lowest" : "highest"} threshold that reaches the goal.`;
  }

  function exportThresholds() {
    const set = [...chosen].filter(([of, value]) => value !== null && (data.positive === null || of === data.positive));
    if (!set.length) {
      byId("export-status").textContent = "No label has a threshold yet: move the slider first.";
      return;
    }
    // Written by hand: JSON.stringify would lose a label named __proto__.
    const lines = set.map(([of, value]) => `    ${JSON.stringify(labels[of])}: ${Number(value.toFixed(9))}`);
    download(
      "thresholds.json",
      "application/json",
      `{\n  "schema": "audiocnn.thresholds/1",\n  "model": ${JSON.stringify(data.model)},\n  "thresholds": {\n${lines.join(",\n")}\n  }\n}\n`,
    );
    byId("export-status").textContent = `Saved with ${counted(set.length, "label")}; labels without a threshold are left out.`;
  }

  byId("threshold-label").addEventListener("change", () => choose(chosen.get(label())));
  byId("threshold-slider").addEventListener("input", (event) => choose(event.target.valueAsNumber));
  byId("threshold-value").addEventListener("change", ({ target }) => {
    if (target.value === "") choose(first);
    else choose(Math.min(Math.max(target.valueAsNumber, 0), 1));
  });
  byId("threshold-goal").addEventListener("submit", findThreshold);
  byId("threshold-reset").addEventListener("click", () => choose(first));
  byId("threshold-export").addEventListener("click", exportThresholds);

  // Labels that may be wrong

  const boxes = [...document.querySelectorAll("[data-suspect]")];
  const ticksKey = `audiocnn.relabel/${data.model}`;
  const keyOf = (box) => JSON.stringify(data.suspects[box.dataset.suspect]);

  function countTicks() {
    const ticked = boxes.filter((box) => box.checked);
    byId("relabel-status").textContent = `${ticked.length} of ${counted(boxes.length, "recording")} ticked.`;
    return ticked;
  }

  function cell(value) {
    const text = String(value);
    const safe = /^[=+\-@]/.test(text) ? `'${text}` : text; // or a spreadsheet would run it
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
    const ticked = new Set(storage.read(ticksKey));
    for (const box of boxes) {
      box.checked = ticked.has(keyOf(box));
      box.addEventListener("change", () => storage.write(ticksKey, countTicks().map(keyOf)));
    }
    countTicks();
    byId("relabel-export").addEventListener("click", exportLabels);
  }

  for (const one of document.querySelectorAll("[data-script]")) one.hidden = false;
  for (const one of document.querySelectorAll("[data-no-script]")) one.remove();
  show();
})();
