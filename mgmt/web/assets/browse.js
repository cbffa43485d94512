// Search while a word is typed, folders that open in place. Without this script every page works by links and forms.
(() => {
  "use strict";
  const PAUSE = 120; // milliseconds without a key
  const field = document.getElementById("q");
  const typed = document.getElementById("typed");
  const told = document.getElementById("told");
  let timer, running;

  const part = async (address, signal) => {
    const answer = await fetch(address, { signal, credentials: "same-origin" });
    if (!answer.ok) throw new Error(String(answer.status));
    return answer.text();
  };

  const show = (html) => {
    typed.innerHTML = html;
    typed.hidden = !html.trim();
    told.textContent = typed.querySelector(".told")?.textContent ?? "";
  };

  const look = async () => {
    running?.abort();
    running = new AbortController();
    const { signal } = running;
    try {
      const word = field.value.trim();
      const html = word ? await part("/parts/search?q=" + encodeURIComponent(word), signal) : "";
      if (!signal.aborted) show(html);
    } catch (error) {
      if (error.name !== "AbortError") show('<p class="note"><span class="told">The search failed. Is mgmt browse still running?</span></p>');
    }
  };

  field?.addEventListener("input", () => {
    clearTimeout(timer);
    running?.abort();
    timer = setTimeout(look, PAUSE);
  });
  field?.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      clearTimeout(timer);
      running?.abort();
      field.value = "";
      show("");
    }
  });

  // A `toggle` does not bubble; it is caught on its way down.
  document.addEventListener("toggle", async (event) => {
    const folder = event.target;
    const address = folder.dataset?.part;
    if (!address || !folder.open) return;
    delete folder.dataset.part;
    try {
      const box = document.createElement("div");
      box.innerHTML = await part(address);
      folder.querySelector(":scope > p")?.replaceWith(box);
    } catch {
      folder.dataset.part = address; // the link to its page stays
    }
  }, true);

  document.addEventListener("click", async (event) => {
    const more = event.target.closest?.("a.more[data-part]");
    if (!more || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    try {
      const box = document.createElement("div");
      box.innerHTML = await part(more.dataset.part);
      more.parentElement.replaceWith(box);
      box.querySelector("summary, a")?.focus();
    } catch {
      location.assign(more.href);
    }
  });
})();
