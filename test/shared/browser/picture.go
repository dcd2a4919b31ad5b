package browser

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/chromedp/chromedp"
	"github.com/shoenig/test/must"
)

// Pictures is the environment variable with the absolute path of a folder for pictures. If it is
// unset, none are written.
const Pictures = "TEST_PICTURES"

// Picture writes a screenshot as PNG to the folder in Pictures, for manual review.
func (b *Tab) Picture(name string) {
	b.t.Helper()
	dir := os.Getenv(Pictures)
	if dir == "" {
		return
	}
	shot, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	must.NoError(b.t, err)
	picture, err := png.Decode(bytes.NewReader(shot))
	must.NoError(b.t, err)
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	must.NoError(b.t, encoder.Encode(&out, indexed(picture)))
	must.NoError(b.t, os.WriteFile(filepath.Join(dir, name+".png"), out.Bytes(), 0o644))
}

// indexed reduces a picture to its 256 most frequent colours and maps the others to the nearest: a
// third of the size, and pages have few colours.
func indexed(picture image.Image) *image.Paletted {
	bounds := picture.Bounds()
	count := map[color.RGBA]int{}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			count[at(picture, x, y)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	var palette color.Palette
	for _, c := range colours[:min(256, len(colours))] {
		palette = append(palette, c)
	}
	nearest := map[color.RGBA]uint8{}
	for _, c := range colours {
		nearest[c] = uint8(palette.Index(c))
	}
	out := image.NewPaletted(bounds, palette)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			out.SetColorIndex(x, y, nearest[at(picture, x, y)])
		}
	}
	return out
}

func at(picture image.Image, x, y int) color.RGBA {
	return color.RGBAModel.Convert(picture.At(x, y)).(color.RGBA)
}
