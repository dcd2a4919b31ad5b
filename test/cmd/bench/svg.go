package main

import (
	"fmt"
	"html"
	"slices"
	"strings"
)

// Dimensions of the chart in pixels.
const (
	pictureWidth = 740
	labelWidth   = 120
	barsWidth    = 500
	barHeight    = 16
	rowHeight    = 22
	panelGap     = 34
)

// svgStyle fits light and dark pages.
const svgStyle = `
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.note { fill: #59636e; font-weight: 400 }
.bar { fill: #8c959f }
.ours { fill: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .note { fill: #9198a1 }
  .bar { fill: #656c76 }
  .ours { fill: #4493f8 }
}
`

// drawn returns the numbers of tasks that have a panel: few, more and many.
func (r report) drawn() []int {
	sizes := r.sizes()
	return slices.Compact([]int{sizes[0], sizes[min(1, len(sizes)-1)], sizes[len(sizes)-1]})
}

// svg draws start time and memory, with a panel for each.
func (r report) svg() string {
	var body strings.Builder
	y := 0
	for _, m := range metrics()[:2] {
		for _, tasks := range r.drawn() {
			y = r.panel(&body, y, m, tasks)
		}
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="What a task costs under each driver">
<style>%s</style>
%s</svg>
`, pictureWidth, y, svgStyle, body.String())
}

// scale returns the value of the longest bar. A single value that would make the others invisible
// is ignored.
func (r report) scale(m metric, tasks int) float64 {
	const farOff, several = 10, 4 // this many times the next value, if there are this many values
	bars := 0
	longest, next := 1e-9, 1e-9
	for _, name := range r.names() {
		v, ok := r.value(m, name, tasks)
		if ok {
			bars++
		}
		longest, next = max(longest, v), max(next, min(longest, v))
	}
	if bars >= several && longest > farOff*next {
		return next
	}
	return longest
}

// panel draws a bar for each contestant and returns the position of the next panel.
func (r report) panel(out *strings.Builder, y int, m metric, tasks int) int {
	scale := r.scale(m, tasks)
	y += rowHeight
	fmt.Fprintf(out, `<text class="title" x="0" y="%d">%s, %d tasks <tspan class="note">%s</tspan></text>`+"\n",
		y, m.title, tasks, html.EscapeString(m.unit))
	for _, name := range r.names() {
		v, ok := r.value(m, name, tasks)
		if !ok {
			continue
		}
		y += rowHeight
		class := "bar"
		if strings.HasPrefix(name, "pod") {
			class = "bar ours"
		}
		width, value := max(1, v/scale*barsWidth), fmt.Sprintf(m.format, v)
		if width > barsWidth {
			width, value = barsWidth, value+" (cut off)"
		}
		fmt.Fprintf(out, `<text x="0" y="%d">%s</text><rect class="%s" x="%d" y="%d" width="%.0f" height="%d" rx="2"/><text x="%.0f" y="%d">%s</text>`+"\n",
			y, html.EscapeString(name), class, labelWidth, y-barHeight+3, width, barHeight,
			labelWidth+width+8, y, value)
	}
	return y + panelGap - rowHeight
}
