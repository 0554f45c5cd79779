"use strict";
// Search, filter and sort the table of predictions. Without this script all of it is shown, in the order of the files.
(() => {
  const byId = (id) => document.getElementById(id);
  const table = byId("results");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  function filter() {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = byId("kind").value;
    const remarked = byId("remark").value !== "";
    let n = 0;
    for (const row of rows) {
      const text = row.cells[0].textContent.toLowerCase();
      row.hidden =
        (kind !== "" && row.dataset.kind !== kind) ||
        (remarked && row.dataset.remark === undefined) ||
        !words.every((word) => text.includes(word));
      n += !row.hidden;
    }
    byId("status").textContent = `${n.toLocaleString("en")} of ${rows.length.toLocaleString("en")} recordings`;
  }

  function value(row, column) {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
  }

  function sort(heading) {
    const column = heading.cellIndex;
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const order = (a, b) => (typeof a === "number" ? a - b : collator.compare(a, b));
    const sorted = rows.map((row) => [value(row, column), row]).sort((a, b) => order(a[0], b[0]));
    if (down) sorted.reverse();
    body.append(...sorted.map(([, row]) => row));
  }

  for (const heading of [...table.tHead.rows[0].cells].slice(0, -1)) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => sort(heading));
  }
  for (const id of ["search", "kind", "remark"]) byId(id).addEventListener("input", filter);
  document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
  filter();
})();
