"use strict";
(() => {
  const board = document.getElementById("board");
  const body = board.tBodies[0];
  const all = [...body.rows];
  const heads = [...board.tHead.rows[0].cells];
  const chosen = {};
  const left = new Set();  // columns that are not shown
  let words = "";

  const state = () => {
    const parts = new URLSearchParams();
    for (const [key, values] of Object.entries(chosen)) if (values.size) parts.set(key, [...values].join("\n"));
    if (words) parts.set("search", words);
    if (left.size) parts.set("without", [...left].sort((a, b) => a - b).join(" "));
    const sorted = heads.findIndex(head => head.getAttribute("aria-sort") !== "none");
    if (sorted >= 0) parts.set("sort", sorted + " " + heads[sorted].getAttribute("aria-sort"));
    return parts.toString();
  };

  const show = (remember = true) => {
    let count = 0;
    for (const row of all) {
      const kept = Object.entries(chosen).every(([key, values]) => !values.size || values.has(row.getAttribute("data-" + key)))
        && row.textContent.toLowerCase().includes(words);
      row.hidden = !kept;
      count += kept;
    }
    document.getElementById("shown").textContent = `${count} of ${all.length} rows`;
    const now = state();
    if (remember) history.replaceState(null, "", now ? "#leaderboard?" + now : "#leaderboard");
  };

  const key = (row, column, number) => {
    const value = row.cells[column].dataset.value;
    return number ? (value === "nan" ? NaN : Number(value)) : value.toLowerCase();
  };

  const sort = (column, order) => {
    const number = heads[column].dataset.kind === "number";
    const sign = order === "ascending" ? 1 : -1;
    const ordered = all.map((row, i) => [key(row, column, number), i, row]).sort((a, b) => {
      if (number && (isNaN(a[0]) || isNaN(b[0]))) return isNaN(a[0]) - isNaN(b[0]) || a[1] - b[1];
      return sign * (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0) || a[1] - b[1];
    });
    heads.forEach((head, i) => head.setAttribute("aria-sort", i === column ? order : "none"));
    body.append(...ordered.map(item => item[2]));
  };

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      sort(column, head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending");
      show();
    });
  });

  for (const field of document.querySelectorAll("[data-filter]")) {
    const values = chosen[field.dataset.filter] = new Set();
    for (const button of field.querySelectorAll("button")) button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", on);
      if (on) values.add(button.value); else values.delete(button.value);
      show();
    });
  }

  const picks = [...document.querySelectorAll("#columns input")];
  const pick = (column, on) => {
    if (on) left.delete(column); else left.add(column);
    picks[column].checked = on;
    for (const row of [board.tHead.rows[0], ...all]) row.cells[column].hidden = !on;
  };
  picks.forEach((box, column) => box.addEventListener("change", () => {
    pick(column, box.checked);
    show();
  }));

  document.getElementById("search").addEventListener("input", event => {
    words = event.target.value.trim().toLowerCase();
    show();
  });

  const shown = () => [heads, ...[...body.rows].filter(row => !row.hidden).map(row => [...row.cells])]
    .map(cells => cells.filter(cell => !cell.hidden).map(cell => cell.textContent.trim()));
  const quoted = text => {
    const plain = /^[=+\-@]/.test(text) && isNaN(Number(text)) ? "'" + text : text;
    return /[",\n\r]/.test(plain) ? '"' + plain.replaceAll('"', '""') + '"' : plain;
  };

  document.getElementById("download").addEventListener("click", () => {
    const text = shown().map(cells => cells.map(quoted).join(",")).join("\n") + "\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], {type: "text/csv;charset=utf-8"}));
    link.download = "leaderboard.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  });

  const markdown = rows => {
    const [head, ...rest] = rows.map(cells => "| " + cells.map(cell => cell.replaceAll("|", "\\|")).join(" | ") + " |");
    return [head, "|" + rows[0].map(() => "---").join("|") + "|", ...rest].join("\n");
  };
  const named = {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "±": "$\\pm$",
    "–": "--", "³": "$^3$", "<": "\\textless{}", ">": "\\textgreater{}"};
  const escaped = text => text.replace(/[\\~^±–³<>&%$#_{}]/g, sign => named[sign] || "\\" + sign);
  const latex = rows => {
    const [head, ...rest] = rows.map(cells => cells.map(escaped).join(" & ") + " \\\\");
    const kept = heads.filter(cell => !cell.hidden).map(cell => cell.dataset.kind === "number" ? "r" : "l").join("");
    return [`\\begin{tabular}{${kept}}`, "\\toprule", head, "\\midrule", ...rest, "\\bottomrule", "\\end{tabular}"].join("\n");
  };
  const copies = (id, form) => document.getElementById(id).addEventListener("click", async () => {
    const said = document.getElementById("shown");
    try { await navigator.clipboard.writeText(form(shown())); said.textContent = "copied"; }
    catch { said.textContent = "this browser does not let a page copy; use Download CSV"; }
  });
  copies("copy", markdown);
  copies("latex", latex);

  const parts = new URLSearchParams(location.hash.split("?")[1] || "");
  for (const [name, values] of Object.entries(chosen)) for (const value of (parts.get(name) || "").split("\n")) {
    const button = [...document.querySelectorAll(`[data-filter="${name}"] button`)].find(one => one.value === value);
    if (button) { button.setAttribute("aria-pressed", "true"); values.add(value); }
  }
  const without = (parts.get("without") || "").split(" ");
  picks.forEach((_, column) => without.includes(String(column)) && pick(column, false));
  words = parts.get("search") || "";
  document.getElementById("search").value = words;
  const [column, order] = (parts.get("sort") || "").split(" ");
  if (heads[column] && ["ascending", "descending"].includes(order)) sort(Number(column), order);
  for (const part of document.querySelectorAll(".needs-script")) part.hidden = false;
  show(false);
  if (location.hash.startsWith("#leaderboard?")) document.getElementById("leaderboard").scrollIntoView();
})();
