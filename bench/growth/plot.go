package main

import (
	"math"
	"os"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// draw writes the medians of one caller against the rows: the store's in full
// lines, the raw statements' broken; a plot for each store, side by side.
func (r *report) draw(file string) error {
	var plots []*plot.Plot
	for _, backend := range []string{"sqlite", "postgres"} {
		sizes := r.sizesOf(backend)
		if len(sizes) == 0 {
			continue
		}
		p := plot.New()
		p.Title.Text = backend + ": median of one caller, the raw statement's broken"
		p.X.Label.Text, p.Y.Label.Text = "rows", "µs"
		p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
		p.X.Tick.Marker, p.Y.Tick.Marker = decades{}, decades{}
		p.Legend.TextStyle.Font.Size = font.Points(9)
		p.Legend.Top = true
		p.Add(plotter.NewGrid())
		low, high := math.Inf(1), 0.0
		var names []string
		for _, k := range r.kinds(backend) {
			if k.Callers != 1 {
				continue
			}
			if !slices.Contains(names, k.Operation) {
				names = append(names, k.Operation)
			}
			color := plotutil.DarkColors[(len(names)-1)%len(plotutil.DarkColors)]
			for _, subject := range []string{ours, raw} {
				var points plotter.XYs
				for _, rows := range sizes {
					if m := r.at(backend, rows, k.Operation, 1, subject); m != nil {
						points = append(points, plotter.XY{X: float64(rows), Y: m.P50})
						low, high = min(low, m.P50), max(high, m.P50)
					}
				}
				if len(points) == 0 {
					continue
				}
				lines, dots, err := plotter.NewLinePoints(points)
				if err != nil {
					return err
				}
				lines.Color, dots.Color, dots.Radius = color, color, vg.Points(2)
				lines.Width = vg.Points(1.5)
				if subject == raw {
					lines.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
				} else {
					p.Legend.Add(k.Operation, lines)
				}
				p.Add(lines, dots)
			}
		}
		p.X.Min, p.X.Max = float64(sizes[0])*0.8, float64(sizes[len(sizes)-1])*1.25
		p.Y.Min, p.Y.Max = low*0.7, high*20 // the legend has the room above
		plots = append(plots, p)
	}
	canvas := vgsvg.New(vg.Length(len(plots))*6*vg.Inch, 5*vg.Inch)
	tiles := draw.Tiles{Rows: 1, Cols: len(plots), PadX: vg.Points(8)}
	for i, c := range plot.Align([][]*plot.Plot{plots}, tiles, draw.New(canvas))[0] {
		plots[i].Draw(c)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err := canvas.WriteTo(f); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// decades are the powers of ten, with the lines between.
type decades struct{}

func (decades) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for d := int(math.Floor(math.Log10(low))); math.Pow10(d) <= high; d++ {
		for k := 1.0; k < 10; k++ {
			v := k * math.Pow10(d)
			if v < low || v > high {
				continue
			}
			t := plot.Tick{Value: v}
			if k == 1 {
				t.Label = count(v)
			}
			ticks = append(ticks, t)
		}
	}
	return ticks
}
