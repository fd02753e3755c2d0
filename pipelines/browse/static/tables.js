// Sort and filter tables, on pages and in the report.

function sortBy(table, column, button) {
  const heads = [...table.tHead.rows[0].cells];
  const down = heads[column].getAttribute("aria-sort") === "ascending";
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", down ? "descending" : "ascending");
  const isNumber = heads[column].classList.contains("n");
  const value = (row) => {
    const text = row.cells[column]?.textContent.trim() ?? "";
    return isNumber ? Number.parseFloat(text.replaceAll(",", "")) : text;
  };
  const order = (a, b) => {
    if (!isNumber) return a.localeCompare(b);
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return a - b;
  };
  const rows = [...table.tBodies[0].rows].map((row) => [value(row), row]);
  rows.sort((a, b) => (down ? -order(a[0], b[0]) : order(a[0], b[0])));
  table.tBodies[0].append(...rows.map((pair) => pair[1]));
  button.focus();
}

export function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortBy(table, column, button));
    head.append(button);
  });
}

function filterRows(input) {
  const scope = input.closest(".facet, section, main");
  const wanted = input.value.toLowerCase();
  for (const row of scope.querySelectorAll("tbody tr, .values li")) {
    row.hidden = !row.textContent.toLowerCase().includes(wanted);
  }
}

export function watchFilters() {
  document.addEventListener("input", (event) => {
    if (event.target.matches("[data-filter]")) filterRows(event.target);
  });
}
