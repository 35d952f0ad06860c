// What all pictures share: a canvas as sharp as the screen, the page's colours, a colour for each sub-team.

const GOLDEN = 0.381966;

export function prepare(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "11px system-ui, sans-serif";
  pen.lineWidth = 1;
  pen.globalAlpha = 1;
  return { pen, width, height };
}

export function theme() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  return { ground: of("--ground"), ink: of("--ink"), faint: of("--faint"), line: of("--line"), bad: of("--bad") };
}

// Of those who have agreed on a consumer; as in sortie_view/colours.py.
export function teamColour(consumer) {
  return consumer < 0 ? "hsl(0 0% 55%)" : `hsl(${((consumer * GOLDEN) % 1) * 360} 70% 50%)`;
}

export function total(values) {
  return values.reduce((sum, each) => sum + each, 0);
}
