// The interactive parts of a report: the table of recordings, the recordings of a cell, thresholds, ticks. All text from
// outside is inserted as text, never as markup.
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const { labels, recordings, steps } = data;
  const names = [...labels, ...data.others].map(printable);
  const NO_PREDICTION = -1;
  const AT_A_TIME = 100; // rows of a list; more are slow on a phone
  const N_SCORES = 3;
  const MOST_GROUPS = 300; // to choose from

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

  function cell(value) {
    const text = String(value);
    const safe = /^[=+\-@]/.test(text) ? `'${text}` : text; // or a spreadsheet would run it
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  }

  const csv = (rows) => rows.map((row) => `${row.map(cell).join(",")}\n`).join("");

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

  // Pictures and sounds: each is in the page once, in a template or in a row of the table without script.

  const shelf = new Map(
    [...document.querySelectorAll("[id^=media-]")].map((one) => [one.id, one.content?.firstElementChild ?? one]),
  );

  function media(id) {
    const copy = shelf.get(id).cloneNode(true);
    copy.removeAttribute("id");
    return copy;
  }

  function folded(id, name) {
    const summary = element("summary", { "aria-label": `See and hear it: ${name}` }, "See and hear it");
    const details = element("details", {}, summary);
    details.addEventListener("toggle", () => details.open && details.childElementCount === 1 && details.append(media(id)));
    return details;
  }

  // What is known of a recording

  function facts(i) {
    const truth = recordings.truth[i];
    const predicted = recordings.said[i];
    const roles = [["Truth", truth, "truth"]];
    if (predicted !== NO_PREDICTION && predicted !== truth) roles.push(["Predicted", predicted, "said"]);
    const list = element("dl");
    for (const [role, label, kind] of roles) {
      const known = recordings.scores[i][label] !== undefined;
      const written = known ? decimal(score(i, label)) : "";
      list.append(fact(role, element("span", { class: `name ${kind}` }, names[label]), written));
    }
    if (group(i) !== recordings.path[i]) list.append(fact("Group", printable(group(i))));
    if (data.reasons[i]) list.append(fact(predicted === NO_PREDICTION ? "Reason" : "Status", printable(data.reasons[i])));
    if (predicted !== NO_PREDICTION) list.append(fact("Length", seconds(i)), fact("Scores", highest(i)));
    return list;
  }

  const group = (i) => data.groups[recordings.group[i]];
  const seconds = (i) => `${recordings.seconds[i].toFixed(2)}\u00a0s`;

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

  const silent = () => element("p", { class: "note" }, "This page does not contain its sound.");

  // Rows that unfold, in both tables

  function makeFoldable(row, name, about, id) {
    const inside = shelf.has(id) ? () => media(id) : silent;
    const toggle = element("button", { type: "button", class: "toggle", "aria-expanded": "false" }, name);
    let detail = null;
    const unfold = (open) => {
      detail?.remove(); // this also stops its sound
      detail = open ? element("tr", { class: "detail" }, element("td", { colspan: row.cells.length })) : null;
      if (detail) detail.cells[0].append(element("div", { class: "unfolded" }, ...about(), inside()));
      if (detail) row.after(detail);
      toggle.setAttribute("aria-expanded", String(open));
    };
    toggle.addEventListener("click", () => unfold(!detail));
    const buttons = element("span", { class: "opener" }, toggle);
    if (shelf.has(id)) {
      const play = element("button", { type: "button", class: "play", "aria-label": `Play ${name}` }, "\u25b6\ufe0e");
      play.addEventListener("click", () => {
        if (!detail) unfold(true);
        detail.querySelector("audio").play().catch(() => {});
      });
      buttons.prepend(play);
    }
    row.cells[0].replaceChildren(buttons);
    return unfold;
  }

  // The table of all recordings

  const table = byId("table");
  const ROWS = 12; // at first
  const grouped = table.querySelector("[data-sort=group]") !== null;
  const filters = byId("filters");
  const all = [...recordings.truth.keys()];
  const collator = new Intl.Collator("en", { numeric: true });
  const textOf = {
    recording: (i) => called(i),
    truth: (i) => names[recordings.truth[i]],
    predicted: (i) => names[recordings.said[i]] ?? "",
    group: (i) => printable(group(i)),
  };
  const numberOf = {
    score: (i) => (recordings.said[i] === NO_PREDICTION ? -1 : score(i, recordings.said[i])),
    seconds: (i) => recordings.seconds[i],
    badness: (i) => {
      if (recordings.said[i] === NO_PREDICTION) return 2;
      return (recordings.said[i] === recordings.truth[i] ? 3 : 0) + (recordings.scores[i][recordings.truth[i]] ?? 0) / steps;
    },
  };
  let order = { key: "badness", down: false };
  let found = [];
  let nRows = 0;

  function kindsOf(i) {
    const kinds = [recordings.said[i] === NO_PREDICTION ? "none" : recordings.said[i] === recordings.truth[i] ? "right" : "wrong"];
    if (kinds[0] === "none") kinds.push("wrong"); // as in all figures
    else if (data.reasons[i]) kinds.push("unknown");
    return kinds;
  }

  function matches(i, { text, kind, label, inGroup, low, high }) {
    return (
      (!text || called(i).toLowerCase().includes(text) || printable(group(i)).toLowerCase().includes(text)) &&
      (!kind || kindsOf(i).includes(kind)) &&
      (label === "" || recordings.truth[i] === Number(label) || recordings.said[i] === Number(label)) &&
      (inGroup === "" || recordings.group[i] === Number(inGroup)) &&
      (Number.isNaN(low) || numberOf.score(i) >= low) &&
      (Number.isNaN(high) || (numberOf.score(i) >= 0 && numberOf.score(i) <= high))
    );
  }

  function sorted(which) {
    const { key, down } = order;
    const compare = textOf[key]
      ? (a, b) => collator.compare(textOf[key](a), textOf[key](b))
      : (a, b) => numberOf[key](a) - numberOf[key](b);
    return which.sort((a, b) => (down ? compare(b, a) : compare(a, b)) || a - b);
  }

  function fill() {
    const chosen = {
      text: byId("filter-text").value.trim().toLowerCase(),
      kind: byId("filter-kind").value,
      label: byId("filter-label").value,
      inGroup: byId("filter-group").value,
      low: byId("filter-low").valueAsNumber,
      high: byId("filter-high").valueAsNumber,
    };
    found = sorted(all.filter((i) => matches(i, chosen)));
    for (const head of table.tHead.rows[0].cells) {
      if (head.dataset.sort !== order.key) head.removeAttribute("aria-sort");
      else head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
    }
    table.tBodies[0].replaceChildren();
    nRows = 0;
    addRows(ROWS);
  }

  function addRows(n) {
    const next = found.slice(nRows, nRows + n);
    table.tBodies[0].append(...next.map(tableRow));
    nRows += next.length;
    const some = found.length < all.length ? `${found.length.toLocaleString("en")} of ${counted(all.length, "recording")}` : counted(all.length, "recording");
    byId("table-status").textContent = nRows < found.length ? `${some}, of which the first ${nRows} are listed.` : `${some}.`;
    byId("table-more").parentElement.hidden = nRows === found.length;
  }

  function tableRow(i) {
    const truth = recordings.truth[i];
    const predicted = recordings.said[i];
    const wrong = predicted !== truth;
    const label = (index, kind) => element("span", { class: `name ${kind}` }, names[index]);
    const told = element("td");
    const scored = element("td", { class: "number" });
    if (predicted === NO_PREDICTION) told.append("no prediction");
    else {
      told.append(label(predicted, wrong ? "said" : ""));
      scored.append(decimal(score(i, predicted)));
      if (wrong && recordings.scores[i][truth] !== undefined)
        scored.append(element("span", { class: "under" }, `truth ${decimal(score(i, truth))}`));
    }
    if (data.reasons[i]) told.append(element("span", { class: "under" }, printable(data.reasons[i])));
    const row = element("tr", {}, element("th", { scope: "row", class: "path" }), element("td", {}, label(truth, wrong ? "truth" : "")), told, scored);
    if (grouped) row.append(element("td", { class: "less" }, element("span", { class: "name", title: printable(group(i)) }, printable(group(i)))));
    row.append(element("td", { class: "number less" }, predicted === NO_PREDICTION ? "" : seconds(i)));
    row.unfold = makeFoldable(row, called(i), () => [facts(i)], `media-${i}`);
    return row;
  }

  function saveTable() {
    const stretches = recordings.stretch ? ["start_s", "end_s"] : [];
    const head = ["recording", ...stretches, "truth", "label", "score", "group", "duration_s", "reason", ...labels.map((name) => `p_${name}`)];
    const rows = found.map((i) => [
      recordings.path[i],
      ...(recordings.stretch ? (recordings.stretch[i] ?? ["", ""]) : []),
      [...labels, ...data.others][recordings.truth[i]],
      labels[recordings.said[i]] ?? "",
      recordings.said[i] === NO_PREDICTION ? "" : score(i, recordings.said[i]),
      group(i), recordings.seconds[i], data.reasons[i] ?? "",
      ...labels.map((_, label) => (recordings.said[i] === NO_PREDICTION ? "" : score(i, label))),
    ]);
    download("recordings.csv", "text/csv", csv([head, ...rows]));
  }

  function options(list, texts) {
    list.append(...texts.map((text, i) => element("option", { value: i }, text)));
  }

  options(byId("filter-label"), names);
  if (data.groups.length > 1 && data.groups.length <= MOST_GROUPS && data.groups.length < all.length) {
    options(byId("filter-group"), data.groups.map(printable));
    byId("filter-group-box").hidden = false;
  }
  for (const head of table.tHead.rows[0].cells) {
    const button = element("button", { type: "button", class: "sort" }, head.textContent);
    button.addEventListener("click", () => {
      const { sort } = head.dataset;
      order = { key: sort, down: order.key === sort ? !order.down : sort === "score" };
      fill();
    });
    head.replaceChildren(button);
  }
  filters.addEventListener("input", fill);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => {
    order = { key: "badness", down: false };
    setTimeout(fill); // the fields are empty after this event
  });
  byId("table-more").addEventListener("click", () => addRows(AT_A_TIME));
  byId("table-csv").addEventListener("click", saveTable);
  fill();
  const first = table.tBodies[0].rows[0];
  if (found.length && shelf.has(`media-${found[0]}`)) first.unfold(true); // shows what a row holds

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
    const id = `media-${i}`;
    const inside = shelf.has(id) ? folded(id, called(i)) : silent();
    return element("li", {}, element("h3", { class: "path" }, called(i)), facts(i), inside);
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

  const unset = data.positive === null ? null : 0.5;
  const chosen = new Map(labels.map((_, label) => [label, data.thresholds[label] ?? unset]));
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

  if (byId("chooser")) {
    byId("threshold-label").addEventListener("change", () => choose(chosen.get(label())));
    byId("threshold-slider").addEventListener("input", (event) => choose(event.target.valueAsNumber));
    byId("threshold-value").addEventListener("change", ({ target }) => {
      if (target.value === "") choose(unset);
      else choose(Math.min(Math.max(target.valueAsNumber, 0), 1));
    });
    byId("threshold-goal").addEventListener("submit", findThreshold);
    byId("threshold-reset").addEventListener("click", () => choose(unset));
    byId("threshold-export").addEventListener("click", exportThresholds);
    show();
  }

  // Labels that may be wrong

  const boxes = [...document.querySelectorAll("[data-suspect]")];
  const ticksKey = `audiocnn.relabel/${data.model}`;
  const keyOf = (box) => JSON.stringify(data.suspects[box.dataset.suspect]);

  function countTicks() {
    const ticked = boxes.filter((box) => box.checked);
    byId("relabel-status").textContent = `${ticked.length} of ${counted(boxes.length, "recording")} ticked.`;
    return ticked;
  }

  function exportLabels() {
    const stretches = data.suspects.some((one) => one.length > 3);
    const rows = boxes.map((box) => {
      const [path, given, suggested, start = "", end = ""] = data.suspects[box.dataset.suspect];
      return [path, given, suggested, box.checked ? "yes" : "no", ...(stretches ? [start, end] : [])];
    });
    const columns = ["path", "label", "suggested", "ticked", ...(stretches ? ["start_s", "end_s"] : [])];
    download("relabel.csv", "text/csv", csv([columns, ...rows]));
  }

  if (boxes.length) {
    const ticked = new Set(storage.read(ticksKey));
    for (const box of boxes) {
      box.checked = ticked.has(keyOf(box));
      box.addEventListener("change", () => storage.write(ticksKey, countTicks().map(keyOf)));
    }
    countTicks();
    byId("relabel-export").addEventListener("click", exportLabels);
    for (const box of boxes) {
      const row = box.closest("tr");
      makeFoldable(row, row.cells[0].textContent, () => [], row.dataset.media);
    }
  }
})();
