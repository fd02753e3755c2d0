// Facets, brushing, copying, the running build. Pages work without it.
import { makeSortable, watchFilters } from "./tables.js";
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
document.addEventListener("click", (event) => {
  if (event.target.matches("[data-copy]")) copy(event.target);
});
prepare(document);
watchFilters();
watchImages();
watchGallery();
watchPlayers();
