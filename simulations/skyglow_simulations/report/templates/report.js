(function () {
  "use strict";
  var root = document.documentElement;
  var data = JSON.parse(document.getElementById("data").textContent);
  var form = document.getElementById("controls");
  var reading = document.getElementById("reading");

  function each(selector, act, within) { Array.prototype.forEach.call((within || document).querySelectorAll(selector), act); }
  function percent(value, digits) { return (100 * value).toFixed(digits === undefined ? 1 : digits) + "%"; }
  function clock(slot) { return ("0" + Math.floor(slot / 2)).slice(-2) + (slot % 2 ? ":30" : ":00"); }
  function make(name, attributes, words) {
    var made = document.createElementNS("http" + "://www.w3.org/2000/svg", name);
    Object.keys(attributes).forEach(function (key) { made.setAttribute(key, attributes[key]); });
    if (words) made.textContent = words;
    return made;
  }

  /* Map and ranking */
  function chosen() {
    var fields = new FormData(form), slot = document.getElementById("slot");
    return { topic: fields.get("topic"), areas: fields.get("areas") || "MSOA", what: fields.get("what") || "estimate", kind: fields.get("kind"), slot: slot ? +slot.value : 0 };
  }
  function numbers(code, choice) {
    var area = data.topics[choice.topic].areas[code];
    if (!area || choice.topic !== "occupancy") return area || null;
    return area[choice.kind] ? area[choice.kind][choice.slot] : null;
  }
  function words(code, choice) {
    var found = numbers(code, choice), name = data.names[code] || code;
    return found ? name + ": " + percent(found[0]) + ", 95% interval " + percent(found[1]) + " to " + percent(found[2]) : name + ": withheld";
  }
  function colour(value, scale) {
    var place = 0;
    while (place < scale.labels.length - 1 && value >= scale.edges[place + 1]) place++;
    return scale.labels[place][0];
  }
  function drawMap(choice) {
    var topic = data.topics[choice.topic], scale = topic.scales[choice.areas][choice.what];
    var whole = topic.district ? numbers(topic.district, choice) : null;
    each(".area", function (shape) {
      var code = shape.dataset.code, found = numbers(code, choice), said = words(code, choice);
      var value = found && (choice.what === "width" ? found[2] - found[1] : found[0]);
      shape.setAttribute("fill", found ? colour(value, topic.scales[shape.parentNode.dataset.level][choice.what]) : "url(#hatch)");
      shape.setAttribute("aria-label", said);
      shape.querySelector("title").textContent = said;
    });
    each("[data-level]", function (part) { part.style.display = part.dataset.level === choice.areas ? "" : "none"; });
    each("[data-mark]", function (mark) {
      var found = numbers(mark.dataset.mark, choice), d = "";
      if (found && whole && found[1] > whole[0]) d = "M0,-6L5.6,4.4L-5.6,4.4Z";
      if (found && whole && found[2] < whole[0]) d = "M0,6L5.6,-4.4L-5.6,-4.4Z";
      mark.setAttribute("d", d);
    });
    var legend = document.getElementById("legend");
    each("li:not(.always)", function (item) { item.remove(); }, legend);
    scale.labels.slice().reverse().forEach(function (label) {
      var item = document.createElement("li"), swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = label[0];
      item.append(swatch, choice.what === "width" ? label[1].replace(/%/g, "") + " points" : label[1]);
      legend.prepend(item);
    });
  }
  function drawRanking(choice) {
    var chart = document.querySelector(".ranking"), place = chart.dataset, topic = data.topics[choice.topic];
    var low = topic.axis[0], high = topic.axis[1], step = topic.axis[2];
    function x(value) { return +place.left + (value - low) / (high - low) * (place.right - place.left); }
    var ticks = chart.querySelector(".ticks");
    ticks.textContent = "";
    for (var tick = 0; low + tick * step < high + 1e-9; tick++) {
      var at = x(low + tick * step);
      ticks.append(make("line", { x1: at, x2: at, y1: place.top - 8, y2: place.bottom, "class": "grid" }));
      ticks.append(make("text", { x: at, y: place.top - 14, "text-anchor": "middle" }, percent(low + tick * step, step < 0.01 ? 1 : 0)));
    }
    var whole = topic.district ? numbers(topic.district, choice) : null, district = chart.querySelector(".district");
    if (district) district.style.visibility = whole ? "visible" : "hidden";
    if (district && whole) {
      district.querySelector("rect").setAttribute("x", x(whole[1]));
      district.querySelector("rect").setAttribute("width", x(whole[2]) - x(whole[1]));
      ["x1", "x2"].forEach(function (end) { district.querySelector("line").setAttribute(end, x(whole[0])); });
    }
    var rows = Array.prototype.slice.call(chart.querySelectorAll(".row"));
    rows.sort(function (a, b) {
      var one = numbers(a.dataset.code, choice), two = numbers(b.dataset.code, choice);
      return (two ? two[0] : -1) - (one ? one[0] : -1);
    });
    rows.forEach(function (row, number) {
      var found = numbers(row.dataset.code, choice), line = row.querySelector(".interval"), dot = row.querySelector(".dot");
      row.setAttribute("transform", "translate(0 " + (+place.top + place.row * (number + 0.5)) + ")");
      row.querySelector(".none").textContent = found ? "" : "withheld";
      row.querySelector("title").textContent = words(row.dataset.code, choice);
      [line, dot].forEach(function (shape) { shape.setAttribute("visibility", found ? "visible" : "hidden"); });
      if (!found) return;
      dot.setAttribute("cx", x(found[0]));
      line.setAttribute("x1", x(found[1]));
      line.setAttribute("x2", x(found[2]));
    });
    var when = choice.topic === "occupancy" ? ", " + choice.kind + " at " + clock(choice.slot) : "";
    var said = "MSOAs in order of the estimated share of " + topic.words + when;
    chart.setAttribute("aria-label", said);
    document.getElementById("shown").textContent = topic.words.charAt(0).toUpperCase() + topic.words.slice(1) + when;
    var drawn = "Map of " + (choice.areas === "LAD" ? "districts" : "MSOAs") + " by the estimated share of ";
    each(".map", function (map) { map.setAttribute("aria-label", drawn + topic.words + when); });
  }
  function draw() {
    var choice = chosen(), hours = document.getElementById("hours"), slot = document.getElementById("slot");
    if (hours) hours.hidden = document.getElementById("onescale").hidden = choice.topic !== "occupancy";
    if (slot) {
      document.getElementById("time").textContent = clock(choice.slot);
      slot.setAttribute("aria-valuetext", clock(choice.slot));
    }
    if (document.querySelector(".map")) drawMap(choice);
    drawRanking(choice);
  }
  function light(code) {
    each(".row", function (row) { row.classList.toggle("on", row.dataset.code === code); });
    each(".outline", function (outline) {
      var area = Array.prototype.find.call(document.querySelectorAll(".area"), function (one) { return one.dataset.code === code; });
      outline.setAttribute("d", area ? area.getAttribute("d") : "");
    });
    if (reading && code) reading.textContent = words(code, chosen());
  }
  function restore() {
    var wanted = /^#map=([^,]+),(estimate|width),(weekday|weekend),(\d{1,2})(?:,(MSOA|LAD))?$/.exec(location.hash);
    if (wanted && wanted[1] in data.topics) {
      ["topic", "what", "kind"].forEach(function (field, number) { if (form.elements[field]) form.elements[field].value = wanted[number + 1]; });
      if (form.elements.slot) form.elements.slot.value = wanted[4];
      if (form.elements.areas) form.elements.areas.value = wanted[5] || "MSOA";
    }
    draw();
  }
  function play() {
    var button = document.getElementById("play"), slot = document.getElementById("slot"), timer = null;
    function stop() {
      clearInterval(timer);
      timer = null;
      button.textContent = "Play the day";
    }
    if (!button) return;
    button.addEventListener("click", function () {
      if (timer) { stop(); return; }
      button.textContent = "Stop";
      timer = setInterval(function () {
        slot.value = (+slot.value + 1) % 48;
        draw();
      }, 400);
    });
    form.addEventListener("input", function () { if (timer) stop(); });
  }
  function nearest(areas, from, across, down) {
    function middle(shape) {
      var box = shape.getBBox();
      return [box.x + box.width / 2, box.y + box.height / 2];
    }
    var here = middle(from), best = from, least = Infinity;
    areas.forEach(function (shape) {
      var there = middle(shape), dx = there[0] - here[0], dy = there[1] - here[1];
      var ahead = dx * across + dy * down, aside = Math.abs(dx * down) + Math.abs(dy * across);
      if (shape !== from && ahead > 0 && ahead + 2 * aside < least) { least = ahead + 2 * aside; best = shape; }
    });
    return best;
  }
  function watch() {
    var areas = Array.prototype.slice.call(document.querySelectorAll(".area"));
    var moves = { ArrowRight: [1, 0], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowUp: [0, -1] };
    areas.forEach(function (area) {
      var layer = Array.prototype.slice.call(area.parentNode.children);
      area.setAttribute("tabindex", area === layer[0] ? 0 : -1);
      area.addEventListener("focus", function () { light(area.dataset.code); });
      area.addEventListener("blur", function () { light(""); });
      area.addEventListener("keydown", function (event) {
        if (!(event.key in moves)) return;
        event.preventDefault();
        var next = nearest(layer, area, moves[event.key][0], moves[event.key][1]);
        area.setAttribute("tabindex", -1);
        next.setAttribute("tabindex", 0);
        next.focus();
      });
    });
    each(".area,.row", function (shape) {
      shape.addEventListener("mouseenter", function () { light(shape.dataset.code); });
      shape.addEventListener("mouseleave", function () { light(""); });
    });
    form.addEventListener("input", draw);
    form.addEventListener("submit", function (event) { event.preventDefault(); });
    window.addEventListener("hashchange", restore);
    form.reset();
    play();
    restore();
  }
  if (form && document.querySelector(".ranking")) watch();

  /* Curves of the day */
  function drawDay(figure, code, slot) {
    var svg = figure.querySelector("svg"), p = svg.dataset, day = data.topics.occupancy, kind = figure.dataset.kind;
    var curves = day.areas[code][kind], truth = day.truth[code], shown = curves && curves.every(Boolean);
    function across(slot) { return +p.left + (slot + 0.5) / 48 * (p.right - p.left); }
    function point(value, slot) {
      return across(slot).toFixed(1) + "," + (+p.bottom + (value - p.low) / (1 - p.low) * (p.top - p.bottom)).toFixed(1);
    }
    function line(values) { return "M" + values.map(point).join("L"); }
    function set(name, d) { each("path." + name, function (path) { path.setAttribute("d", d); }, svg); }
    set("estimate", shown ? line(curves.map(function (n) { return n[0]; })) : "");
    var lower = shown ? curves.map(function (n, slot) { return point(n[1], slot); }).reverse() : [];
    set("band", shown ? line(curves.map(function (n) { return n[2]; })) + "L" + lower.join("L") + "Z" : "");
    set("truth", shown && truth ? line(truth[kind]) : "");
    each("text.none", function (words) { words.setAttribute("display", shown ? "none" : "inline"); }, svg);
    var cursor = svg.querySelector(".cursor") || svg.appendChild(make("path", { "class": "cursor" }));
    cursor.setAttribute("d", "M" + across(slot).toFixed(1) + "," + p.bottom + "V" + p.top);
    var name = data.names[code];
    figure.querySelector(".areaname").textContent = name + (shown ? "" : " (withheld)");
    svg.setAttribute("aria-label", "Share of homes with somebody in, by half-hour, " + name + ", " + kind);
  }
  function counted(found, homes) { /* as round as the interval is wide */
    var half = (found[2] - found[1]) * homes / 2, step = Math.pow(10, Math.max(1, Math.floor(Math.log10(half))));
    var words = found.map(function (share) { return (Math.round(share * homes / step) * step).toLocaleString("en-GB"); });
    return words[0] + " homes, " + words[1] + " to " + words[2];
  }
  function answer(code, slot) {
    var day = data.topics.occupancy, homes = day.homes[code], into = document.getElementById("found");
    function part(name, words) {
      var made = document.createElement(name);
      made.textContent = words;
      into.append(made);
      return made;
    }
    into.textContent = "";
    part("p", data.names[code] + (homes ? ", " + homes.toLocaleString("en-GB") + " households" : "") + ", at " + clock(slot));
    each("#days figure", function (figure) {
      var kind = figure.dataset.kind, found = day.areas[code][kind] && day.areas[code][kind][slot], line = part("p", "");
      var when = kind === "weekend" ? "Weekend day: " : "Weekday: ", share = document.createElement("strong");
      if (!found) { line.textContent = when + "withheld"; return; }
      share.textContent = percent(found[0]) + " of homes have somebody in";
      var said = ", 95% interval " + percent(found[1]) + " to " + percent(found[2]);
      if (homes) said += "; that is about " + counted(found, homes);
      line.append(when, share, said);
    });
  }
  function choices(level, near) {
    var day = data.topics.occupancy, select = document.getElementById("area"), groups = {};
    select.textContent = "";
    (day.levels[level] || []).forEach(function (code) {
      var into = select, parent = level === "LSOA" ? day.within[code] : "";
      if (parent) {
        if (!groups[parent]) {
          groups[parent] = document.createElement("optgroup");
          groups[parent].label = data.names[parent] || parent;
          select.append(groups[parent]);
        }
        into = groups[parent];
      }
      var option = document.createElement("option");
      option.value = code;
      option.textContent = data.names[code] || code;
      into.append(option);
    });
    var close = Array.prototype.find.call(select.options, function (one) {
      return one.value === near || day.within[one.value] === near || day.within[near] === one.value;
    });
    if (close) select.value = close.value;
    document.getElementById("which").hidden = select.options.length < 2;
  }
  function asked() {
    var select = document.getElementById("area"), hour = document.getElementById("hour"), ask = document.getElementById("ask");
    function show() {
      document.getElementById("hourtime").textContent = clock(+hour.value);
      hour.setAttribute("aria-valuetext", clock(+hour.value));
      each("#days figure", function (figure) { drawDay(figure, select.value, +hour.value); });
      answer(select.value, +hour.value);
    }
    function restore() {
      var wanted = /^#when=([EW]0\d{7}),(\d{1,2})$/.exec(location.hash), levels = data.topics.occupancy.levels;
      Object.keys(levels).forEach(function (level) {
        if (!wanted || levels[level].indexOf(wanted[1]) < 0) return;
        if (ask.elements.level) ask.elements.level.value = level;
        choices(level, wanted[1]);
        hour.value = wanted[2];
      });
      show();
    }
    ask.reset();
    ask.addEventListener("submit", function (event) { event.preventDefault(); });
    ask.addEventListener("input", function (event) {
      if (event.target.name === "level") choices(event.target.value, select.value);
      show();
    });
    window.addEventListener("hashchange", restore);
    restore();
  }
  if (document.getElementById("ask")) asked();

  /* Only now, when all works: a page whose script failed shows no switches */
  root.classList.add("scripted");
})();
