package main

import (
	"context"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func buildVersion() versionInfo {
	v := versionInfo{Version: "unknown", Commit: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

func (p *program) version() *cobra.Command {
	c := &cobra.Command{Use: "version", Short: "Print version, commit and Go version"}
	return p.command(c, noArgs, func(context.Context, []string) error {
		v := buildVersion()
		return p.print(v, func(w io.Writer) {
			modified := ""
			if v.Modified {
				modified = " (modified)"
			}
			table(w, row("authz", v.Version), row("commit", v.Commit+modified), row("go", v.Go), row("platform", v.Platform))
		})
	})
}
