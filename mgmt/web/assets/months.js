// From the bar of a month to its operations, by click, Enter or the address; from bar to bar by the arrow keys.

(() => {
  const { months, types } = data("operations");
  const STARTED = 0, TYPE = 1, STATUS = 2, TARGET = 3, SECONDS = 4, ERROR = 5, ID = 6;
  const panel = document.getElementById("month");
  const charts = [...document.querySelectorAll("svg.chart")].map((svg) => [...svg.querySelectorAll("a[data-month]")]);
  let opener = null;

  function row(operation) {
    const about = element("td", { class: "sentence" });
    if (operation[ERROR]) about.append(operation[ERROR]);
    if (["failed", "partial"].includes(operation[STATUS])) about.append(command(`mgmt status ${operation[ID]}`));
    return element("tr", {},
      element("th", { scope: "row", class: "nowrap" }, moment(operation[STARTED])),
      element("td", {}, types[operation[TYPE]]),
      element("td", {}, status(operation[STATUS])),
      element("td", { class: "name" }, operation[TARGET]),
      element("td", { class: "number" }, operation[SECONDS] === null ? "" : duration(operation[SECONDS])),
      about);
  }

  function open(name, from) {
    const month = months[name];
    if (!month) return;
    opener = from;
    panel.querySelector("h3").textContent = month.title;
    panel.querySelector(".summary").textContent = month.summary;
    panel.querySelector("tbody").replaceChildren(...month.rows.map(row));
    panel.querySelector(".scroll").hidden = month.rows.length === 0;
    const rest = panel.querySelector(".rest");
    rest.hidden = month.rows.length >= month.operations;
    rest.replaceChildren(
      `These are ${number(month.rows.length)} of ${number(month.operations)} operations, failed ones first. All of them:`,
      command(month.command));
    for (const bar of charts.flat()) {
      if (bar.dataset.month === name) bar.setAttribute("aria-current", "true");
      else bar.removeAttribute("aria-current");
    }
    panel.hidden = false;
    panel.querySelector("h3").focus({ preventScroll: true });
    panel.scrollIntoView({ block: "nearest" });
  }

  function close() {
    panel.hidden = true;
    charts.flat().forEach((bar) => bar.removeAttribute("aria-current"));
    if (opener) opener.focus();
  }

  for (const bars of charts) {
    const enter = (index) => {
      bars.forEach((bar, at) => bar.setAttribute("tabindex", at === index ? "0" : "-1"));
      return bars[index];
    };
    if (bars.length) enter(bars.length - 1);
    bars.forEach((bar, index) => {
      bar.addEventListener("click", (event) => {
        event.preventDefault();
        enter(index);
        open(bar.dataset.month, bar);
      });
      bar.addEventListener("keydown", (event) => {
        const to = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: bars.length - 1 }[event.key];
        if (to === undefined || !bars[to]) return;
        event.preventDefault();
        enter(to).focus();
      });
    });
  }

  panel.querySelector("button.close").addEventListener("click", close);
  panel.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
})();
