(function () {
  "use strict";
  var form = document.getElementById("controls");
  if (!form) return;
  document.documentElement.classList.add("scripted");
  var data = JSON.parse(document.getElementById("data").textContent);
  var shapes = document.querySelectorAll(".area");
  var legend = document.getElementById("legend");
  var reading = document.getElementById("reading");
  function clock(slot) {
    return (slot < 20 ? "0" : "") + Math.floor(slot / 2) + (slot % 2 ? ":30" : ":00");
  }
  function percent(value) { return (100 * value).toFixed(1) + " %"; }
  function chosen() {
    var fields = new FormData(form);
    var group = fields.get("kind") + " " + clock(+document.getElementById("slot").value);
    return { topic: fields.get("topic"), what: fields.get("what"), group: group };
  }
  function numbers(code, choice) {
    var area = data.areas[code];
    if (!area) return null;
    return choice.topic === "share" ? area.share : area.day[choice.group] || null;
  }
  function value(found, choice) {
    return choice.what === "width" ? found[2] - found[1] : found[0];
  }
  function words(code, found) {
    var name = data.areas[code] ? data.areas[code].name : code;
    if (!found) return name + ": withheld";
    return name + ": " + percent(found[0]) + " (between " + percent(found[1]) + " and " + percent(found[2]) + ")";
  }
  function draw() {
    var choice = chosen();
    document.getElementById("when").hidden = choice.topic !== "day";
    document.getElementById("time").textContent = choice.group.split(" ")[1];
    var all = [];
    shapes.forEach(function (shape) {
      var found = numbers(shape.dataset.code, choice);
      if (found) all.push(value(found, choice));
    });
    var low = Math.min.apply(null, all), high = Math.max.apply(null, all), steps = data.ramp.length;
    shapes.forEach(function (shape) {
      var found = numbers(shape.dataset.code, choice);
      var place = found && high > low ? Math.floor((value(found, choice) - low) / (high - low) * steps) : 0;
      shape.setAttribute("fill", found ? data.ramp[Math.min(place, steps - 1)] : "url(#hatch)");
      shape.querySelector("title").textContent = words(shape.dataset.code, found);
    });
    legend.querySelectorAll("li").forEach(function (item, number) {
      if (number >= steps || !all.length) return;
      var from = low + (high - low) * number / steps, to = low + (high - low) * (number + 1) / steps;
      item.lastChild.textContent = percent(from) + " to " + percent(to);
    });
  }
  shapes.forEach(function (shape) {
    ["mouseenter", "focus"].forEach(function (event) {
      shape.addEventListener(event, function () {
        reading.textContent = words(shape.dataset.code, numbers(shape.dataset.code, chosen()));
      });
    });
  });
  form.addEventListener("input", draw);
  form.addEventListener("submit", function (event) { event.preventDefault(); });
})();
