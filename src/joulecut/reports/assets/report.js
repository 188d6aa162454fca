"use strict";
// Draws the figures and sorts the tables. All texts come ready from the page; they are only ever set
// as text, never as markup.
(() => {
  const page = document.documentElement;
  addEventListener("error", (event) => { page.dataset.error = String(event.message); });
  const data = JSON.parse(document.getElementById("data").textContent);

  const build = (space) => (parent, name, attributes = {}, text = "") => {
    const element = document.createElementNS(space, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text) element.textContent = text;
    parent.append(element);
    return element;
  };
  const svg = build("http://www.w3.org/2000/svg");
  const html = build("http://www.w3.org/1999/xhtml");

  const shorten = (text, room) => {
    if (text.length <= room) return text;
    if (room < 7) return "";
    const tail = Math.floor(room / 2);
    return text.slice(0, room - tail - 1) + "…" + text.slice(text.length - tail);
  };
  const scale = ([from, to], [start, end]) => (value) =>
    start + ((value - from) / (to - from || 1)) * (end - start);

  // ---- tables -------------------------------------------------------------------------------------
  const key = (row, at) => {
    const cell = row.cells[at];
    return cell.dataset.v === undefined ? cell.title || cell.textContent : Number(cell.dataset.v);
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });

  function sortable(table) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    [...table.tHead.rows[0].cells].forEach((head, at) => {
      const label = head.textContent;
      head.textContent = "";
      const orders = head.classList.contains("n") ? ["descending", "ascending"] : ["ascending", "descending"];
      html(head, "button", { type: "button" }, label).addEventListener("click", () => {
        const next = [...orders, "none"][(orders.indexOf(head.getAttribute("aria-sort")) + 1) % 3];
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        if (next !== "none") head.setAttribute("aria-sort", next);
        const sign = next === "descending" ? -1 : 1;
        const rows = next === "none" ? original : [...original].sort((a, b) => sign * compare(key(a, at), key(b, at)));
        body.append(...rows);
      });
    });
    for (const cell of table.querySelectorAll("td[data-bar]")) cell.style.setProperty("--w", cell.dataset.bar);
  }

  function choice(host) {
    const states = [...host.children];
    const bar = html(host, "div", { class: "tabs", role: "group", "aria-label": "Which table" });
    host.prepend(bar);
    const show = (chosen) => states.forEach((state, at) => {
      state.hidden = at !== chosen;
      bar.children[at].setAttribute("aria-pressed", String(at === chosen));
    });
    states.forEach((state, at) => {
      const label = state.querySelector("caption").textContent.split(".")[0];
      html(bar, "button", { type: "button" }, label).addEventListener("click", () => show(at));
    });
    show(states.length - 1);
  }

  // ---- icicle -------------------------------------------------------------------------------------
  function lay(node, start, depth, above) {
    Object.assign(node, { x: start, depth, above, path: node.p ?? node.n });
    let at = start;
    for (const child of node.c ?? []) {
      lay(child, at, depth + 1, node);
      at += child.v;
    }
    node.end = node.c?.length ? Math.max(at, start) : start + node.v;
    return node;
  }
  const all = (node) => [node, ...(node.c ?? []).flatMap(all)];
  const deepest = (node) => Math.max(node.depth, ...(node.c ?? []).map(deepest));

  function icicle(host, { bounds, trees }) {
    const roots = trees.map((tree) => lay(tree.root, 0, 0, null));
    const nodes = roots.map(all);
    const crumbs = html(host, "div", { class: "crumbs" });
    const frames = trees.map((tree) => {
      const state = html(host, "p", { class: "state" });
      html(state, "b", {}, tree.label);
      html(state, "span", {}, tree.text);
      return html(host, "div");
    });
    const reading = html(host, "p", { class: "reading", "aria-live": "polite" }, " ");
    legend(html(host, "div", { class: "keys" }), bounds, nodes.flat());
    let zoom = "";

    const choose = (path, refocus) => {
      zoom = path;
      draw();
      filter(path);
      if (refocus) frames[refocus.at]?.querySelector(`[data-i="${refocus.i}"]`)?.focus();
    };
    const step = (event, node, at) => {
      const row = node.above?.c ?? [node];
      const here = row.indexOf(node);
      const target = {
        ArrowLeft: row[here - 1], ArrowRight: row[here + 1], ArrowUp: node.above, ArrowDown: node.c?.[0],
      }[event.key];
      const i = nodes[at].indexOf(node);
      if (target) frames[at].querySelector(`[data-i="${nodes[at].indexOf(target)}"]`)?.focus();
      else if (event.key === "Enter" || event.key === " ") choose(node.path === zoom ? node.above?.path ?? "" : node.path, { at, i });
      else if (event.key === "Escape") choose("", { at, i });
      else if (!event.key.startsWith("Arrow")) return;
      event.preventDefault();
    };

    function draw() {
      const width = Math.max(host.clientWidth, 280);
      const found = nodes.map((list) => list.find((node) => node.path === zoom));
      const span = Math.max(...found.map((node) => (node ? node.end - node.x : 0)), 1e-30);
      const depth = Math.max(...roots.map(deepest));
      frames.forEach((frame, at) => {
        frame.replaceChildren();
        const height = (depth + 1) * 23;
        const canvas = svg(frame, "svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `${trees[at].label}: energy by module` });
        patterns(canvas, at);
        const target = found[at];
        if (!target) return;
        nodes[at].forEach((node, i) => {
          const left = Math.max(((node.x - target.x) / span) * width, 0);
          const right = Math.min(((node.end - target.x) / span) * width, ((target.end - target.x) / span) * width);
          if (right - left < 0.4) return;
          box(canvas, node, i, at, left, right - left, node === target);
        });
      });
      trail();
    }

    function box(canvas, node, i, at, left, width, entry) {
      const group = svg(canvas, "g", {
        class: `node b${node.b > 5 ? 5 : node.b}`, role: "button", tabindex: entry ? 0 : -1, "data-i": i,
        "aria-label": `${node.path || trees[at].label}, ${node.t}`,
      });
      svg(group, "rect", { x: left, y: node.depth * 23 + 1, width, height: 22 });
      const room = Math.floor((width - 10) / 6.4);
      const label = shorten(node.n || "whole network", room);
      if (label) svg(group, "text", { x: left + 5, y: node.depth * 23 + 16 }, label);
      const tell = () => { reading.textContent = `${trees.length > 1 ? trees[at].label + ": " : ""}${shorten(node.path || "whole network", 90)}, ${node.t}`; };
      group.addEventListener("pointerenter", tell);
      group.addEventListener("focus", tell);
      group.addEventListener("keydown", (event) => step(event, node, at));
      group.addEventListener("click", () => choose(node.path === zoom ? node.above?.path ?? "" : node.path, { at, i }));
    }

    function trail() {
      crumbs.replaceChildren();
      if (!zoom) return;
      let node = nodes.map((list) => list.find((one) => one.path === zoom)).find(Boolean);
      const line = [];
      for (; node; node = node.above) line.unshift(node);
      for (const one of line) {
        html(crumbs, "button", { type: "button" }, shorten(one.n || "whole network", 32)).addEventListener("click", () => choose(one.path, null));
      }
    }
    return draw;
  }

  function patterns(canvas, at) {
    if (at) return;
    const defs = svg(canvas, "defs");
    for (const [id, angle] of [["hatch", 45], ["cross", -45]]) {
      const pattern = svg(defs, "pattern", { id, width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: `rotate(${angle})` });
      svg(pattern, "line", { class: id, x1: 0, y1: 0, x2: 0, y2: 5, "stroke-width": 1.4 });
    }
  }

  function legend(host, bounds, nodes) {
    const drawn = new Set(nodes.map((node) => node.b));
    const entries = bounds.map((bound, at) => [at, bound || "nothing named"]);
    if (bounds.length) html(host, "span", {}, "Bound by");
    for (const [b, text] of [...entries, [-2, "static"], [-3, "unattributed"]]) {
      if (!drawn.has(b)) continue;
      const entry = html(host, "span");
      html(entry, "i", { class: `key b${b > 5 ? 5 : b}` });
      entry.append(text);
    }
  }

  // The layer tables show what the icicle shows.
  function filter(path) {
    for (const table of document.querySelectorAll("#layers, #layers-before, #layers-after")) {
      for (const row of table.tBodies[0].rows) {
        const layer = row.cells[0].title || row.cells[0].textContent;
        row.hidden = path !== "" && layer !== path && !layer.startsWith(`${path}.`);
      }
    }
  }

  // ---- energy against accuracy --------------------------------------------------------------------
  function axes(canvas, chart, x, y, bottom, left) {
    for (const [at, text] of chart.xt) {
      svg(canvas, "line", { class: "axis", x1: x(at), x2: x(at), y1: bottom, y2: bottom + 5 });
      svg(canvas, "text", { class: "soft", x: x(at), y: bottom + 18, "text-anchor": "middle" }, text);
    }
    for (const [at, text] of chart.yt ?? []) {
      svg(canvas, "line", { class: "axis", x1: left - 5, x2: left, y1: y(at), y2: y(at) });
      svg(canvas, "text", { class: "soft", x: left - 9, y: y(at) + 4, "text-anchor": "end" }, text);
    }
  }

  function path(host, chart) {
    const frame = html(host, "div");
    const reading = html(host, "p", { class: "reading", "aria-live": "polite" }, " ");
    let current = chart.points.length - 1;
    return () => {
      frame.replaceChildren();
      const width = Math.max(host.clientWidth, 280);
      const height = Math.min(340, 180 + width / 6);
      const [left, bottom] = [58, height - 44];
      const x = scale(chart.x, [left, width - 12]);
      const y = scale(chart.y, [bottom, 24]);
      const canvas = svg(frame, "svg", {
        viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "img",
        "aria-label": `${chart.yl} against ${chart.xl}, ${chart.points.length} steps; arrow keys read them`,
      });
      const limit = chart.budget ? x(chart.budget.x) : left;
      if (chart.budget) {
        svg(canvas, "rect", { class: "within", x: left, y: 24, width: Math.max(limit - left, 0), height: bottom - 24 });
        svg(canvas, "line", { class: "budget", x1: limit, x2: limit, y1: 24, y2: bottom });
        svg(canvas, "text", { class: "strong", x: limit + (limit > width / 2 ? -6 : 6), y: 16, "text-anchor": limit > width / 2 ? "end" : "start" }, chart.budget.t);
      }
      axes(canvas, chart, x, y, bottom, left);
      svg(canvas, "path", { class: "axis", d: `M${left} 24V${bottom}H${width - 12}` });
      svg(canvas, "text", { class: "soft", x: width - 12, y: bottom + 36, "text-anchor": "end" }, chart.xl);
      svg(canvas, "text", { class: "soft", x: 0, y: 12 }, chart.yl);
      for (const line of chart.lines) {
        svg(canvas, "line", { class: "dash", x1: left, x2: width - 12, y1: y(line.y), y2: y(line.y) });
        svg(canvas, "text", { class: "soft", x: limit < width / 2 ? limit + 8 : left + 8, y: y(line.y) - 5 }, line.t);
      }
      for (const point of chart.points) svg(canvas, "line", { class: "range", x1: x(point.lo), x2: x(point.hi), y1: y(point.y), y2: y(point.y) });
      svg(canvas, "path", { class: "trace", d: chart.points.map((point, i) => `${i ? "L" : "M"}${x(point.x)} ${y(point.y)}`).join("") });
      const dots = chart.points.map((point, i) => {
        const dot = svg(canvas, "circle", { class: "dot", cx: x(point.x), cy: y(point.y), r: 3.6 });
        dot.addEventListener("pointerenter", () => read(i));
        return dot;
      });
      const read = (i) => {
        dots[current]?.setAttribute("class", "dot");
        current = Math.max(0, Math.min(dots.length - 1, i));
        dots[current]?.setAttribute("class", "dot end");
        reading.textContent = chart.points[current]?.t ?? "";
      };
      canvas.addEventListener("keydown", (event) => {
        const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!move) return;
        read(current + move);
        event.preventDefault();
      });
      read(current);
    };
  }

  // ---- staircases ---------------------------------------------------------------------------------
  function stairs(host, groups) {
    let common = true;
    const bar = html(host, "div", { class: "tabs" });
    const toggle = html(bar, "button", { type: "button", "aria-pressed": "true" }, "One scale for all");
    const grid = html(host, "div", { class: "multiples" });
    const drawers = groups.map((group) => staircase(grid, group));
    const highest = Math.max(...groups.flatMap((group) => group.hi), 1e-30);
    const draw = () => drawers.forEach((drawer, i) => drawer(common ? highest : Math.max(...groups[i].hi, 1e-30)));
    toggle.addEventListener("click", () => {
      common = !common;
      toggle.setAttribute("aria-pressed", String(common));
      draw();
    });
    return draw;
  }

  function staircase(grid, group) {
    const cell = html(grid, "div");
    html(cell, "p", { title: group.n }, shorten(group.n, 30));
    const frame = html(cell, "div");
    const reading = html(cell, "p", { class: "reading", "aria-live": "polite" });
    const last = group.r.length - 1;
    const after = group.at === null ? last : Math.max(group.r.findLastIndex((removed) => removed <= group.at), 0);
    let current = after;
    const read = (i) => {
      current = Math.max(0, Math.min(last, i));
      reading.textContent = `−${group.r[current]} of ${group.f}: ${group.t[current]}`;
    };
    return (highest) => {
      frame.replaceChildren();
      const [width, height] = [180, 78];
      const x = scale([0, group.f], [0, width]);
      const y = scale([0, highest], [height - 4, 5]);
      const line = (values, start) => values.map((value, i) => `${i ? `H${x(group.r[i])}V` : start}${y(value)}`).join("") + `H${width}`;
      const canvas = svg(frame, "svg", { viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "img", "aria-label": `${group.n}: removing ${group.r[after]} of ${group.f} filters frees ${group.t[after]}` });
      let band = line(group.hi, "M0 ");
      for (let i = last; i >= 0; i--) band += `V${y(group.lo[i])}H${x(group.r[i])}`;
      svg(canvas, "path", { class: "band", d: `${band}Z` });
      svg(canvas, "path", { class: "axis", d: `M0 ${height - 4}H${width}` });
      svg(canvas, "path", { class: "stair", d: line(group.j, "M0 ") });
      const dot = svg(canvas, "circle", { class: "dot end", r: 3.6 });
      dot.setAttribute("visibility", group.at === null ? "hidden" : "visible");
      const show = (i) => {
        read(i);
        dot.setAttribute("cx", x(group.r[current]));
        dot.setAttribute("cy", y(group.j[current]));
      };
      canvas.addEventListener("pointermove", (event) => {
        dot.setAttribute("visibility", "visible");
        const shape = canvas.getBoundingClientRect();
        const removed = ((event.clientX - shape.left) / shape.width) * group.f;
        show(group.r.findLastIndex((at) => at <= removed));
      });
      canvas.addEventListener("pointerleave", () => show(after));
      canvas.addEventListener("keydown", (event) => {
        const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!move) return;
        dot.setAttribute("visibility", "visible");
        show(current + move);
        event.preventDefault();
      });
      show(current);
    };
  }

  // ---- ratios -------------------------------------------------------------------------------------
  function forest(host, chart) {
    const frame = html(host, "div");
    return () => {
      frame.replaceChildren();
      const width = Math.max(host.clientWidth, 280);
      const left = Math.min(300, width * 0.36);
      const bottom = chart.rows.length * 30 + 6;
      const x = scale(chart.x, [left, width - 16]);
      const canvas = svg(frame, "svg", { viewBox: `0 0 ${width} ${bottom + 24}`, role: "img", "aria-label": "Ratios with their intervals; the table below holds the same figures" });
      svg(canvas, "rect", { class: "within", x: x(1 - chart.margin), y: 0, width: x(1 + chart.margin) - x(1 - chart.margin), height: bottom });
      svg(canvas, "line", { class: "budget", x1: x(1), x2: x(1), y1: 0, y2: bottom });
      axes(canvas, chart, x, null, bottom, left);
      chart.rows.forEach((row, i) => {
        const y = i * 30 + 20;
        svg(canvas, "text", { x: 0, y: y + 4 }, shorten(`${row.by}, ${row.n}`, Math.floor(left / 6.6)));
        svg(canvas, "line", { class: "range", x1: x(row.lo), x2: x(row.hi), y1: y, y2: y });
        svg(canvas, "circle", { class: row.verdict ? "dot end" : "dot", cx: x(row.v), cy: y, r: 4 });
        svg(canvas, "text", { class: "soft", x: x(row.v), y: y - 8, "text-anchor": "middle" }, [row.t, row.verdict].filter(Boolean).join(", "));
      });
    };
  }

  // ---- the page -----------------------------------------------------------------------------------
  document.querySelectorAll("table").forEach(sortable);
  document.querySelectorAll("[data-choice]").forEach(choice);
  const kinds = { icicle, path, stairs, forest };
  const drawings = [...document.querySelectorAll("[data-figure]")].map((host) => kinds[host.dataset.figure](host, data[host.dataset.figure]));
  const draw = () => drawings.forEach((drawing) => drawing());
  draw();
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    requestAnimationFrame(draw);
  });
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
  page.dataset.ready = "1";
})();
