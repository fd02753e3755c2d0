// Facets, sorting, filtering, brushing, copying, the running build. Pages work without it.
import { watchGallery, watchPlayers } from "./player.js";

async function fetchInto(target, address) {
  try {
    const answer = await fetch(address, { headers: { "X-Fragment": "1" } });
    const html = await answer.text();
    if (!answer.ok) throw new Error(answer.statusText);
    target.replaceChildren(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
    prepare(target);
  } catch (error) {
    target.textContent = `not loaded: ${error.message}`;
  }
}

function loadFacet(facet) {
  if (facet.dataset.loaded || !facet.open) return;
  facet.dataset.loaded = "1";
  fetchInto(facet.querySelector(".body"), facet.dataset.src);
}

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

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortBy(table, column, button));
    head.append(button);
  });
}

function filterRows(input) {
  const scope = input.closest(".facet, main");
  const wanted = input.value.toLowerCase();
  for (const row of scope.querySelectorAll("tbody tr, .values li")) {
    row.hidden = !row.textContent.toLowerCase().includes(wanted);
  }
}

// Drag over a histogram to set both ends of its range.
function brush(histogram) {
  const form = histogram.parentElement.querySelector("form");
  const [from, to] = form.querySelectorAll("input[type=number]");
  const shade = histogram.querySelector(".brush");
  const width = histogram.viewBox.baseVal.width;
  const { low, high } = histogram.dataset;
  let start = null;
  const place = (event) => {
    const box = histogram.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  };
  const value = (part) => Number((Number(low) + part * (high - low)).toPrecision(4));
  histogram.addEventListener("pointerdown", (event) => {
    start = place(event);
    histogram.setPointerCapture(event.pointerId);
  });
  histogram.addEventListener("pointermove", (event) => {
    if (start === null) return;
    const [left, right] = [start, place(event)].sort((a, b) => a - b);
    shade.setAttribute("x", left * width);
    shade.setAttribute("width", (right - left) * width);
    from.value = value(left);
    to.value = value(right);
  });
  histogram.addEventListener("pointerup", () => {
    const moved = start !== null && from.value !== to.value && shade.getAttribute("width") > 1;
    start = null;
    if (moved) form.requestSubmit();
  });
}

async function copy(button) {
  const text = document.getElementById(button.dataset.copy).textContent;
  await navigator.clipboard.writeText(text);
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

function refresh(target) {
  setInterval(() => {
    if (target.querySelector("[data-running]") || !target.children.length) {
      fetchInto(target, target.dataset.refresh);
    }
  }, 3000);
}

// A picture that cannot be read is said to be damaged, not shown as a broken image.
function watchImages() {
  const fail = (image) => {
    const note = document.createElement("span");
    note.className = "none";
    note.textContent = "damaged or unreadable";
    image.replaceWith(note);
  };
  document.addEventListener("error", (event) => {
    if (event.target instanceof HTMLImageElement) fail(event.target);
  }, true);
  for (const image of document.images) {
    if (image.complete && !image.naturalWidth && image.loading !== "lazy") fail(image);
  }
}

function prepare(scope) {
  scope.querySelectorAll("table.sortable").forEach(makeSortable);
  scope.querySelectorAll(".histogram").forEach(brush);
}

document.querySelectorAll(".facet[data-src]").forEach((facet) => {
  facet.addEventListener("toggle", () => loadFacet(facet));
  loadFacet(facet);
});
document.querySelectorAll("[data-refresh]").forEach(refresh);
document.addEventListener("input", (event) => {
  if (event.target.matches("[data-filter]")) filterRows(event.target);
});
document.addEventListener("click", (event) => {
  if (event.target.matches("[data-copy]")) copy(event.target);
});
prepare(document);
watchImages();
watchGallery();
watchPlayers();
