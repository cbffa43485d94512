"use strict";

// What the scripts of several pages share. All text is set as text, never as markup.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** An element with these attributes and children: texts or elements. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** The data that the page has in the script element with this id. */
function data(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

/** `1.4 GiB`, as at the terminal. */
function size(bytes) {
  let number = bytes, unit = 0;
  while (Math.abs(number) >= 1024 && unit < UNITS.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return unit === 0 ? `${bytes} B` : `${number.toFixed(1)} ${UNITS[unit]}`;
}

/** `2026-11-29 14:05` in UTC, from seconds. */
function moment(seconds) {
  return new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ");
}

/** `42 s`, `3 min 20 s`, as at the terminal. */
function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  let whole = Math.round(seconds);
  const parts = [];
  for (const [length, unit] of [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]) {
    if (whole >= length) parts.push(`${Math.floor(whole / length)} ${unit}`);
    whole %= length;
  }
  return parts.slice(0, 2).join(" ");
}

/** `12,345`. */
function number(value) {
  return value.toLocaleString("en-US");
}

function status(name) {
  return element("span", { class: `status ${name}` }, name);
}

/** A command to type, with a button that copies it. */
function command(text) {
  return withButton(element("span", { class: "command" }, element("code", {}, text)));
}

function withButton(box) {
  const button = element("button", { type: "button" }, "Copy");
  const text = box.querySelector("code").textContent;
  button.setAttribute("aria-label", `Copy ${text}`);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch { // where there is no clipboard: what is selected can be copied
      getSelection().selectAllChildren(box.querySelector("code"));
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  box.append(button);
  return box;
}

document.querySelectorAll(".command").forEach(withButton);
document.querySelectorAll("[data-needs-script]").forEach((each) => { each.hidden = false; });
document.querySelectorAll("[data-without-script]").forEach((each) => { each.remove(); });
