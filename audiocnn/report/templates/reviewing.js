"use strict";
// The page of a review: it asks the server for clips, plays them, and sends each answer before it shows the next clip.
(() => {
  const token = new URLSearchParams(location.search).get("token");
  const find = (id) => document.getElementById(id);
  const sound = find("sound");
  const buttons = [...document.querySelectorAll("button")];
  const loaded = new Map(); // the promise of each clip that was asked for
  let seat = "", order = [], answered = new Set(), current = null, stopAt = Infinity, busy = false, frame = 0;

  async function call(path, body) {
    const headers = { "X-Token": token, "X-Seat": seat, "Content-Type": "application/json" };
    const options = body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers };
    let answer;
    try {
      answer = await fetch(path, options);
    } catch {
      throw new Error("The program has ended. All answers so far are kept: run audiocnn review again to resume.");
    }
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.problem);
    return found;
  }

  function say(text, problem = false) {
    find("message").textContent = text;
    find("message").classList.toggle("problem", problem);
  }

  const load = (clip) => {
    if (!loaded.has(clip)) loaded.set(clip, call(`clip/${clip}`).catch((error) => { loaded.delete(clip); throw error; }));
    return loaded.get(clip);
  };
  const next = (after) => order.find((clip) => !answered.has(clip) && clip !== after);

  // Sound: the unit alone, or with its context; times of the recording, slowed where sound is played slower.

  function moveCursor() {
    cancelAnimationFrame(frame);
    const plot = find("picture").querySelector(".plot");
    let cursor = find("picture").querySelector(".cursor");
    if (!plot || !current) return;
    if (!cursor) {
      cursor = Object.assign(document.createElement("div"), { className: "cursor" });
      find("picture").append(cursor);
    }
    const box = plot.getBoundingClientRect(), around = find("picture").getBoundingClientRect();
    const share = sound.currentTime / current.slowdown / current.seconds;
    Object.assign(cursor.style, {
      left: `${box.left - around.left + share * box.width}px`, top: `${box.top - around.top}px`, height: `${box.height}px`,
    });
    if (sound.currentTime >= stopAt) sound.pause();
    if (!sound.paused) frame = requestAnimationFrame(moveCursor);
  }

  async function play(whole) {
    if (!current) return;
    sound.pause();
    stopAt = whole ? Infinity : current.unit[1] * current.slowdown;
    sound.currentTime = whole ? 0 : current.unit[0] * current.slowdown;
    try {
      await sound.play();
      moveCursor();
    } catch (error) {
      if (error.name === "NotAllowedError") say("Press Space, or Play again, to hear the clip.");
    }
  }

  // Clips

  async function show(clip) {
    find("bar").max = order.length;
    find("bar").value = answered.size;
    find("count").textContent = `${answered.size} of ${order.length}`;
    find("undo").disabled = answered.size === 0;
    if (!clip) {
      current = null;
      sound.pause();
      find("clip").hidden = answered.size === 0;
      for (const one of document.querySelectorAll("#picture, #facts, #question, .answers, #again, #context, #several")) one.hidden = true;
      say("All clips are answered. Press Finish to see the result.");
      find("finish").focus();
      return;
    }
    const found = await load(clip);
    for (const one of document.querySelectorAll("#picture, #facts, #question, .answers, #again, #context, #several")) one.hidden = false;
    current = { ...found, clip };
    find("clip").hidden = false;
    find("picture").innerHTML = found.picture;
    find("facts").textContent = found.facts;
    choose(false);
    sound.src = found.sound;
    play(false);
    const ahead = next(clip);
    if (ahead) load(ahead).catch(() => {});
    for (const old of loaded.keys()) if (old !== clip && old !== ahead) loaded.delete(old);
  }

  // Answers

  const picked = () => buttons.filter((one) => one.dataset.label && one.ariaPressed === "true").map((one) => one.dataset.label);

  function choose(several) {
    find("several").ariaPressed = String(several);
    find("keep").hidden = !several;
    for (const one of buttons) {
      if (!one.dataset.label || one.dataset.label === "-") continue;
      if (several) one.ariaPressed = "false";
      else one.removeAttribute("aria-pressed");
    }
  }

  async function attempt(work) {
    if (busy) return;
    busy = true; // a key for a clip that is not there yet does nothing
    find("clip").ariaBusy = "true";
    try {
      await work();
    } catch (error) {
      say(error.message, true);
    } finally {
      busy = false;
      find("clip").ariaBusy = "false";
    }
  }

  const answer = (kind, labels, name) => attempt(async () => {
    if (!current) return;
    const { clip } = current;
    await call("answer", { clip, kind, labels });
    answered.add(clip);
    say(`Kept: ${name}.`);
    await show(next(clip));
  });

  const undo = () => attempt(async () => {
    const { clip } = await call("undo", {});
    if (!clip) return say("There is no answer to take back.");
    answered.delete(clip);
    await show(clip);
    say("The last answer is taken back.");
  });

  const finish = () => attempt(async () => {
    const { page } = await call("finish", {});
    sound.pause();
    find("clip").hidden = true;
    say(`Finished. The result is in ${page}; you can close this page.`);
  });

  function press(button) {
    const { label, kind } = button.dataset;
    if (button.id === "again") play(false);
    else if (button.id === "context") play(true);
    else if (button.id === "several") choose(button.ariaPressed !== "true");
    else if (button.id === "undo") undo();
    else if (button.id === "finish") finish();
    else if (button.id === "keep") {
      const labels = picked();
      if (labels.length) answer("", labels, labels.join(" and "));
      else say("Choose the labels first.");
    } else if (label && label !== "-" && find("several").ariaPressed === "true") {
      button.ariaPressed = String(button.ariaPressed !== "true");
    } else if (label) answer("", [label], label === "-" ? "none of these" : label);
    else if (kind) answer(kind, [], kind);
  }

  for (const button of buttons) button.addEventListener("click", () => press(button));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const name = event.key.toLowerCase();
    const focused = document.activeElement?.tagName === "BUTTON" && (name === "enter" || name === " ");
    const button = buttons.find((one) => one.dataset.key === name && !one.hidden && !one.disabled);
    if (!button || focused) return;
    event.preventDefault();
    press(button);
  });
  addEventListener("resize", moveCursor);

  attempt(async () => {
    const state = await call("state");
    ({ seat, order } = state);
    answered = new Set(state.answered);
    say("");
    await show(next(null));
  });
})();
