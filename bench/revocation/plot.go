//go:build unix

package main

import (
	"math"
	"slices"
	"strconv"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// draw writes the latencies by percentile. The axis of percentiles shows the tail,
// where each nine has as much room as the one before; that of time is logarithmic.
func (r *report) draw(file string) error {
	p := plot.New()
	p.Title.Text = "From the return of the call that revoked a token until every other process has refused it"
	p.X.Label.Text = "share of the tokens, %"
	p.Y.Label.Text = "ms"
	p.Y.Scale = plot.LogScale{}
	p.Y.Tick.Marker = decades{}
	p.Add(plotter.NewGrid())
	p.Legend.TextStyle.Font.Size = vg.Points(9)
	p.Legend.Padding = vg.Points(1)

	var drawn []*result
	for _, res := range r.results {
		if res.err == nil && len(res.latencies) > 0 {
			drawn = append(drawn, res)
		}
	}
	slices.SortStableFunc(drawn, worst)
	high, right := 1000.0, 1.0
	for i, res := range drawn {
		line, err := plotter.NewLine(res.curve())
		if err != nil {
			return err
		}
		line.Color = plotutil.DarkColors[i%len(plotutil.DarkColors)]
		line.Dashes = plotutil.Dashes(i / len(plotutil.DarkColors) * 2)
		line.Width = vg.Points(1.5)
		p.Add(line)
		p.Legend.Add(res.title, line)
		high = max(high, line.XYs[len(line.XYs)-1].Y)
		right = max(right, line.XYs[len(line.XYs)-1].X)
	}
	p.X.Min, p.X.Max = 0, right*1.75 // the legend has the room on the right
	p.X.Tick.Marker = nines{right}
	p.Y.Min, p.Y.Max = 0.1, max(high, 1000)*1.3
	p.Legend.Top = true
	return p.Save(11*vg.Inch, 6*vg.Inch, file)
}

// curve has a point for each latency in the tail, and a few hundred in all.
func (r *result) curve() plotter.XYs {
	n := len(r.latencies)
	var points plotter.XYs
	for k, x := 0, 0.0; k < n; k++ {
		// The greatest of n stands where it would be exceeded once in 2 n.
		if at := -math.Log10(1 - (float64(k)+0.5)/float64(n)); k == 0 || at-x > 0.01 || k == n-1 {
			x = at
			points = append(points, plotter.XY{X: at, Y: max(0.1, float64(r.latencies[k])/float64(time.Millisecond))})
		}
	}
	return points
}

// nines are the ticks 0, 50, 90, 99, 99.9 …
type nines struct{ high float64 }

func (t nines) Ticks(_, _ float64) []plot.Tick {
	ticks := []plot.Tick{{Value: 0, Label: "0"}, {Value: -math.Log10(0.5), Label: "50"}}
	for n := 1.0; n <= t.high; n++ {
		ticks = append(ticks, plot.Tick{Value: n, Label: strconv.FormatFloat(100-math.Pow(10, 2-n), 'f', max(0, int(n)-2), 64)})
	}
	return ticks
}

// decades are 0.1, 1, 10 … with the lines between.
type decades struct{}

func (decades) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for d := -1; math.Pow10(d) <= high; d++ {
		for k := 1.0; k < 10; k++ {
			v := k * math.Pow10(d)
			if v < low || v > high {
				continue
			}
			t := plot.Tick{Value: v}
			if k == 1 {
				t.Label = strconv.FormatFloat(v, 'f', -1, 64)
			}
			ticks = append(ticks, t)
		}
	}
	return ticks
}
