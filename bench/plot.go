package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The curves: a file for each operation, with a plot for each of these backends.
var (
	plotted      = []string{"verify", "existing", "create"}
	plotBackends = []string{"memory", "sqlite", "postgres"}
)

// plots are the pictures of the report, as Markdown that shows them.
func (r *report) plots(file string) string {
	var b strings.Builder
	for _, name := range plotted {
		if len(r.curves(name)) > 0 {
			fmt.Fprintf(&b, "\n![%s: rate against callers](%s)\n", titles[name], filepath.Base(plotFile(file, name)))
		}
	}
	return b.String()
}

// plotFile stands beside the report: performance-verify.svg.
func plotFile(report, name string) string {
	return strings.TrimSuffix(report, filepath.Ext(report)) + "-" + name + ".svg"
}

func (r *report) draw(file string) error {
	for _, name := range plotted {
		if plots := r.curves(name); len(plots) > 0 {
			if err := drawRow(plots, plotFile(file, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// curves are the plots of an operation, of the backends where it was measured
// with more than one number of callers.
func (r *report) curves(name string) []*plot.Plot {
	var plots []*plot.Plot
	for _, backend := range plotBackends {
		p := plot.New()
		p.Title.Text = fmt.Sprintf("%s, %s", titles[name], backend)
		p.X.Label.Text, p.Y.Label.Text = "callers", "per second"
		p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
		p.X.Tick.Marker, p.Y.Tick.Marker = ticksOf(callerCounts), decades{}
		p.Add(plotter.NewGrid())
		p.Legend.Top, p.Legend.Left = true, true
		lines := 0
		for i, row := range []string{byRaw, byStore, byManager} {
			var points plotter.XYs
			for _, callers := range callerCounts {
				if v := r.rate(fmt.Sprintf("%s/%s/%d", backend, name, callers), row); v > 0 {
					points = append(points, plotter.XY{X: float64(callers), Y: v})
				}
			}
			if len(points) < 2 {
				continue
			}
			line, marks, err := plotter.NewLinePoints(points)
			if err != nil {
				continue // only what is no number
			}
			line.Color, marks.Color = plotutil.DarkColors[i], plotutil.DarkColors[i]
			line.Width, marks.Shape = vg.Points(1.5), plotutil.Shape(i)
			p.Add(line, marks)
			p.Legend.Add(row, line, marks)
			lines++
		}
		if lines > 0 {
			p.Y.Min, p.Y.Max = p.Y.Min/2, p.Y.Max*4 // the legend has the room above
			plots = append(plots, p)
		}
	}
	return plots
}

func drawRow(plots []*plot.Plot, file string) error {
	canvas := vgsvg.New(vg.Length(len(plots))*4*vg.Inch, 4*vg.Inch)
	tiles := draw.Tiles{Rows: 1, Cols: len(plots), PadX: vg.Points(12), PadRight: vg.Points(6), PadTop: vg.Points(4)}
	for i, c := range plot.Align([][]*plot.Plot{plots}, tiles, draw.New(canvas))[0] {
		plots[i].Draw(c)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = canvas.WriteTo(f)
	return firstOf(err, f.Close())
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// ticksOf has a tick for each number of callers.
type ticksOf []int

func (t ticksOf) Ticks(_, _ float64) []plot.Tick {
	var ticks []plot.Tick
	for _, n := range t {
		ticks = append(ticks, plot.Tick{Value: float64(n), Label: fmt.Sprint(n)})
	}
	return ticks
}

// decades are 10, 100, 1 k … with the lines between.
type decades struct{}

func (decades) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for d := 1.0; d <= high; d *= 10 {
		for k := 1.0; k < 10; k++ {
			if v := k * d; v >= low && v <= high {
				t := plot.Tick{Value: v}
				if k == 1 || k == 3 {
					t.Label = strings.NewReplacer(".00", "", ".0", "").Replace(short(v))
				}
				ticks = append(ticks, t)
			}
		}
	}
	return ticks
}
