"use strict";
// What all pages share: contents that show where one is, commands to copy, and players whose cursor follows the sound.
(() => {
  for (const one of document.querySelectorAll("[data-script]")) one.hidden = false;
  for (const one of document.querySelectorAll("[data-no-script]")) one.remove();

  // Contents

  const contents = document.querySelector(".contents");
  const links = [...(contents?.querySelectorAll("a:not(.top)") ?? [])];

  function markSection() {
    const { scrollHeight } = document.documentElement;
    const atEnd = scrollY > 0 && scrollY + innerHeight >= scrollHeight - 2; // the last section may be short
    const reached = (link) => document.getElementById(link.hash.slice(1)).getBoundingClientRect().top <= innerHeight / 4;
    const here = atEnd ? links.at(-1) : links.findLast(reached);
    if (here?.ariaCurrent === "true") return;
    for (const link of links) link.removeAttribute("aria-current");
    here?.setAttribute("aria-current", "true");
    contents.scrollTo({ left: (here?.offsetLeft ?? 0) - 32, behavior: "instant" });
  }

  if (links.length) {
    document.addEventListener("scroll", markSection, { passive: true });
    markSection();
  }

  // Commands

  async function copy(button) {
    const code = button.parentElement.querySelector("code");
    const status = button.parentElement.querySelector("[role=status]");
    try {
      await navigator.clipboard.writeText(code.textContent);
      status.textContent = "Copied.";
    } catch {
      getSelection().selectAllChildren(code); // a browser may deny the clipboard to a page from a disk
      status.textContent = "Selected: press Ctrl+C.";
    }
  }

  // Players

  const parts = (sound) => ({
    time: sound.parentElement.querySelector(".time"),
    figure: sound.closest(".player")?.querySelector("figure"),
  });

  function seconds(sound) {
    return Number.isFinite(sound.duration) ? sound.duration : Number(parts(sound).time.dataset.seconds);
  }

  function showPosition(sound) {
    const { time, figure } = parts(sound);
    if (!time) return;
    const position = sound.currentTime / Number(time.dataset.slowdown);
    time.querySelector(".now").textContent = sound.currentTime > 0 ? `${position.toFixed(2)}\u00a0s of ` : "";
    const plot = figure?.querySelector(".plot")?.getBoundingClientRect();
    if (!plot) return;
    let cursor = figure.querySelector(".cursor");
    if (!cursor) {
      cursor = document.createElement("span");
      cursor.className = "cursor";
      figure.append(cursor);
    }
    const frame = figure.getBoundingClientRect();
    const share = Math.min(sound.currentTime / seconds(sound), 1);
    cursor.style.left = `${plot.left - frame.left + share * plot.width}px`;
    cursor.style.top = `${plot.top - frame.top}px`;
    cursor.style.height = `${plot.height}px`;
  }

  function follow(sound) {
    showPosition(sound);
    if (!sound.paused) requestAnimationFrame(() => follow(sound));
  }

  function seek(figure, { clientX: x, clientY: y }) {
    const sound = figure.closest(".player").querySelector("audio");
    const plot = figure.querySelector(".plot").getBoundingClientRect();
    if (x < plot.left || x > plot.right || y < plot.top || y > plot.bottom) return;
    sound.currentTime = ((x - plot.left) / plot.width) * seconds(sound);
    sound.play().catch(() => {}); // it may be paused again before it begins
  }

  // Events of sounds do not bubble.
  document.addEventListener("seeked", (event) => showPosition(event.target), true);
  document.addEventListener(
    "play",
    (event) => {
      for (const other of document.querySelectorAll("audio")) if (other !== event.target) other.pause();
      follow(event.target);
    },
    true,
  );
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".copy");
    const figure = event.target.closest(".player figure");
    if (button) copy(button);
    else if (figure) seek(figure, event);
  });
})();
