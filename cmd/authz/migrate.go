package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func (p *program) migrate() *cobra.Command {
	var f storeFlags
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Create or update the tables",
		Long: `Creates or updates the tables of the store, and does nothing if they are up to
date. Other commands do the same at their start; this one does nothing else, for
deployments that want it apart. Any number of processes may do it at once. A
database that a newer version has migrated is refused with exit code 3.`,
	}
	f.register(c)
	return p.command(c, noArgs, func(ctx context.Context, _ []string) error {
		s, err := p.open(ctx, &f, true)
		if err != nil {
			return err
		}
		defer s.close()
		return p.print(struct {
			Store  string `json:"store"`
			Status string `json:"status"`
		}{s.name(), "up to date"}, func(w io.Writer) { fmt.Fprintf(w, "%s is up to date\n", s.name()) })
	})
}
