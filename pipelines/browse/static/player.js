// Filmstrips: the stored frames on a canvas, in time with the stored sound.

function addressOf(element, kind) {
  const { clip, stage } = element.dataset;
  return `/${kind}/${clip}?${new URLSearchParams({ stage })}`;
}

// A message of /frames: a count, times and sizes, then the JPEGs (pipelines/browse/media.py).
async function loadFrames(element) {
  const answer = await fetch(addressOf(element, "frames"));
  if (!answer.ok) throw new Error(await answer.text());
  const content = await answer.arrayBuffer();
  const view = new DataView(content);
  const count = view.getUint32(0, true);
  let start = 4 + 8 * count;
  const frames = [];
  for (let number = 0; number < count; number += 1) {
    const time = view.getFloat32(4 + 8 * number, true);
    const size = view.getUint32(8 + 8 * number, true);
    const jpeg = new Blob([new Uint8Array(content, start, size)], { type: "image/jpeg" });
    frames.push({ time, jpeg });
    start += size;
  }
  return Promise.all(frames.map(async ({ time, jpeg }) => ({ time, image: await createImageBitmap(jpeg) })));
}

function draw(canvas, frames, seconds) {
  let shown = frames[0];
  for (const frame of frames) if (frame.time <= seconds) shown = frame;
  if (!shown || canvas.shown === shown) return;
  if (canvas.width !== shown.image.width) canvas.width = shown.image.width;
  if (canvas.height !== shown.image.height) canvas.height = shown.image.height;
  canvas.getContext("2d").drawImage(shown.image, 0, 0);
  canvas.shown = shown;
}

function lengthOf(frames) {
  const last = frames.at(-1)?.time ?? 0;
  return last + (frames.length > 1 ? last / (frames.length - 1) : 1);
}

// Play a clip of the gallery while it is pointed at or has the focus.
function preview(figure) {
  let playing = null;
  const stop = () => {
    playing?.audio?.pause();
    playing?.canvas.remove();
    playing = null;
  };
  const start = async () => {
    if (playing || !Number(figure.dataset.frames)) return;
    const canvas = document.createElement("canvas");
    const own = { canvas, audio: null };
    playing = own;
    try {
      const frames = await loadFrames(figure);
      if (playing !== own) return;
      figure.querySelector(".picture").append(canvas);
      if (figure.dataset.sound && document.getElementById("with-sound")?.checked) {
        own.audio = new Audio(addressOf(figure, "sound"));
        own.audio.loop = true;
        await own.audio.play().catch(() => { own.audio = null; });
      }
      const began = performance.now();
      const step = () => {
        if (playing !== own) return;
        const seconds = own.audio ? own.audio.currentTime : (performance.now() - began) / 1000;
        draw(canvas, frames, seconds % lengthOf(frames));
        requestAnimationFrame(step);
      };
      figure.dataset.playing = "1";
      step();
    } catch (error) {
      const note = document.createElement("span");
      note.className = "none";
      note.textContent = "damaged or unreadable";
      figure.querySelector(".picture").replaceChildren(note);
    }
  };
  figure.addEventListener("pointerenter", start);
  figure.addEventListener("pointerleave", stop);
  figure.addEventListener("focusin", start);
  figure.addEventListener("focusout", stop);
}

export function watchGallery() {
  document.querySelectorAll(".clip.playable").forEach(preview);
}

async function loadEnergy(player) {
  const answer = await fetch(addressOf(player, "energy"));
  if (!answer.ok) throw new Error(await answer.text());
  const facts = await answer.json();
  return { ...facts, bytes: Uint8Array.from(atob(facts.values), (c) => c.charCodeAt(0)) };
}

function drawEnergy(canvas, energy, seconds) {
  const number = Math.min(energy.steps - 1, Math.floor(seconds / energy.step));
  if (canvas.number === number) return;
  canvas.number = number;
  canvas.width = energy.columns;
  canvas.height = energy.rows;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(energy.columns, energy.rows);
  const start = number * energy.rows * energy.columns;
  for (let place = 0; place < energy.rows * energy.columns; place += 1) {
    const value = energy.bytes[start + place];
    picture.data.set([255, 255 - value, 0, value], 4 * place);
  }
  context.putImageData(picture, 0, 0);
}

// The page of a clip: one clock (the sound, the video, or time itself) moves everything.
async function play(player) {
  const audio = player.querySelector("audio");
  const video = player.querySelector("video");
  const canvas = player.querySelector("canvas:not(.heat)");
  const heat = player.querySelector(".heat");
  const cursor = player.querySelector(".cursor");
  const spectrum = player.querySelector(".spectrum");
  const button = player.querySelector(".play");
  const total = Number(player.dataset.seconds) || 1;
  let frames = [];
  let began = null;
  const clock = () => {
    if (audio) return audio.currentTime;
    if (video) return video.currentTime;
    return began === null ? 0 : ((performance.now() - began) / 1000) % lengthOf(frames);
  };
  const update = () => {
    const seconds = clock();
    if (frames.length) draw(canvas, frames, seconds);
    if (heat?.energy) drawEnergy(heat, heat.energy, seconds);
    if (cursor) cursor.style.left = `${Math.min(100, (100 * seconds) / (audio?.duration || total))}%`;
    if (video && audio && Math.abs(video.currentTime - seconds) > 0.15) video.currentTime = seconds;
  };
  const step = () => {
    update();
    requestAnimationFrame(step);
  };
  button?.addEventListener("click", () => {
    began = began === null ? performance.now() : null;
    button.textContent = began === null ? "Play" : "Stop";
  });
  audio?.addEventListener("play", () => video?.play());
  audio?.addEventListener("pause", () => video?.pause());
  spectrum?.addEventListener("click", (event) => {
    const box = spectrum.getBoundingClientRect();
    audio.currentTime = ((event.clientX - box.left) / box.width) * (audio.duration || total);
  });
  player.querySelector(".heat-on")?.addEventListener("change", (event) => {
    heat.classList.toggle("off", !event.target.checked);
  });
  if (Number(player.dataset.frames) && canvas) {
    frames = await loadFrames(player).catch(() => []);
    if (frames.length) {
      canvas.hidden = false;
      player.querySelector(".screen img")?.remove();
    }
  }
  if (player.dataset.energy) heat.energy = await loadEnergy(player).catch(() => null);
  player.dataset.ready = "1";
  step();
}

export function watchPlayers() {
  document.querySelectorAll(".player").forEach(play);
}
