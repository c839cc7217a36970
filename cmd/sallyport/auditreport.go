package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/config"
	review "github.com/sallyport/sallyport/proxy/accesslog/audit/report"
)

// reportFlags say what a report is about.
type reportFlags struct {
	logFlags
	since, until, idle, format string
}

// reportCommand sums the log up for a review of who may what.
func reportCommand(std stdio) *cobra.Command {
	var flags reportFlags
	cmd := &cobra.Command{
		Use:   "report [FILE...]",
		Short: "Sum up who may, who did and who has not, for recertification",
		Long: `Sum up, for a review of who may what: of each tool who may open it by --config, who has
in the time since --since, how often, when last and by which rule, who was turned away,
and who may and has not for --idle. It goes to the standard output: as CSV, or as one
page of HTML that loads nothing, runs nothing, can be printed, and has a place to sign
for each tool.

  sallyport audit report --since 90d --config gateway.yaml --format html > review.html

People are those whom the log knows, with the groups that they had at their last
request, and users whom the configuration names.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.run(cmd.Context(), std, args)
		},
	}
	flags.add(cmd.Flags(), std)
	flags.addIndex(cmd.Flags())
	cmd.Flags().StringVar(&flags.since, "since", "90d", "from this `TIME` on: how long ago (90d), a day (2026-08-01) or a time, in UTC")
	cmd.Flags().StringVar(&flags.until, "until", "", "up to this `TIME`, which is not part of it; default: now")
	cmd.Flags().StringVar(&flags.idle, "idle", "30d", "name who may and has not for this `LENGTH` of time")
	cmd.Flags().StringVar(&flags.format, "format", formatHTML, "`FORMAT` of the report: html or csv")
	return cmd
}

func (f *reportFlags) run(ctx context.Context, std stdio, named []string) error {
	if err := checkFormat(f.format, formatHTML, formatCSV); err != nil {
		return err
	}
	cfg, err := f.about(time.Now())
	if err != nil {
		return err
	}
	gateway, err := f.gateway()
	if err != nil {
		return err
	}
	if gateway == nil {
		return usageError{&hinted{errors.New("flag --config is missing: who may is said by the configuration"), "sallyport audit report --config gateway.yaml"}}
	}
	cfg.Tools, cfg.Pseudonyms = toolsOf(gateway), gateway.AccessLog.Pseudonymise
	x, err := f.open(ctx, std, named)
	if err != nil {
		return err
	}
	defer func() { _ = x.Close() }() // was only asked
	made, err := review.Make(ctx, x, cfg)
	if err != nil {
		return fmt.Errorf("making the report: %w", err)
	}
	out := bufio.NewWriter(std.Out)
	write := made.WriteHTML
	if f.format == formatCSV {
		write = made.WriteCSV
	}
	if err := write(out); err != nil {
		return err
	}
	return out.Flush()
}

// about is the time that the report is about.
func (f *reportFlags) about(now time.Time) (cfg review.Config, err error) {
	if cfg.Since, err = moment("since", f.since, now); err != nil {
		return cfg, err
	}
	if cfg.Until, err = moment("until", f.until, now); err != nil {
		return cfg, err
	}
	if cfg.Until.IsZero() {
		cfg.Until = now
	}
	if cfg.Since.IsZero() || !cfg.Since.Before(cfg.Until) {
		return cfg, usageError{fmt.Errorf("flag --since is %q, expected a time before --until", f.since)}
	}
	if cfg.Idle, err = age(f.idle); err != nil || cfg.Idle < 24*time.Hour {
		return cfg, usageError{fmt.Errorf("flag --idle is %q, expected a length of time such as 30d, at least a day", f.idle)}
	}
	return cfg, nil
}

// toolsOf are the tools of a configuration, and who may open them.
func toolsOf(gateway *config.Gateway) []review.Tool {
	var tools []review.Tool
	for _, route := range gateway.Routes {
		tool := review.Tool{
			Name: route.Name, Title: or(route.Title, route.Name), Host: string(route.Host),
			StepUp: route.StepUp.MaxAge.Duration > 0 || len(route.StepUp.AuthnContext.Classes) > 0,
		}
		for _, rule := range route.Rules {
			tool.Parts = append(tool.Parts, review.Part{
				Name: rule.Name, Users: rule.Allow.Users, Groups: rule.Allow.Groups, Anyone: rule.Allow.Anyone,
				DenyUsers: rule.Deny.Users, DenyGroups: rule.Deny.Groups, Methods: rule.Methods, Paths: rule.Paths, Exact: rule.Exact,
			})
		}
		tool.Parts = append(tool.Parts, review.Part{Users: route.Allow.Users, Groups: route.Allow.Groups, Anyone: route.Allow.Anyone})
		tools = append(tools, tool)
	}
	return tools
}
