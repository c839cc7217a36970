package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// group is a heading of the help and the commands below it.
type group struct {
	title    string
	commands []func(io stdio) *cobra.Command
}

// groups hold the subcommands, all of them; the help sorts each by name.
var groups = [...]group{
	{"Run:", []func(io stdio) *cobra.Command{gatewayCommand, sidecarCommand, secretDriverCommand}},
	{"Set up:", []func(io stdio) *cobra.Command{provisionCommand, introduceCommand}},
	{"Look after:", []func(io stdio) *cobra.Command{certificatesCommand}},
	{"Look:", []func(io stdio) *cobra.Command{auditCommand, checkCommand, samlCommand, statusCommand, healthCommand, versionCommand}},
}

// run runs one command line and returns the exit code. It is all of the program
// but the process: signals are ctx's end, output and environment are io's.
func run(ctx context.Context, args []string, io stdio) int {
	root := newRoot(io)
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	if err != nil {
		explain(io.Err, command.CommandPath(), err)
	}
	return exitCode(err)
}

// newRoot makes the whole tree of commands.
func newRoot(io stdio) *cobra.Command {
	root := &cobra.Command{
		Use:           "sallyport",
		Short:         "One front door for internal tools: SAML in front, mutual TLS behind, Vault underneath",
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	// Unknown commands reach this function: cobra's own answer would have exit
	// code 1 and no expectation.
	root.Args = func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		meant := ""
		if similar := root.SuggestionsFor(args[0]); len(similar) > 0 {
			meant = "; did you mean " + strings.Join(similar, " or ") + "?"
		}
		return usageError{fmt.Errorf("unknown command %q, expected one of those that `sallyport help` lists%s", args[0], meant)}
	}
	root.SuggestionsMinimumDistance = 2
	root.SetOut(io.Out)
	root.SetErr(io.Err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title})
		for _, newCommand := range g.commands {
			command := newCommand(io)
			command.GroupID = g.title
			root.AddCommand(command)
		}
	}
	root.SetHelpCommand(helpCommand())
	root.InitDefaultCompletionCmd()
	completion, _, err := root.Find([]string{"completion"})
	if err == nil {
		demandAction(completion)
	}
	return root
}

// helpCommand replaces cobra's, which takes any topic for a success.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Print the help of a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			topic, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usageError{fmt.Errorf("no help on %q, expected a command that `sallyport help` lists", strings.Join(args, " "))}
			}
			topic.InitDefaultHelpFlag() // so that the help lists it
			return topic.Help()
		},
	}
}

// demandAction makes a command that only has commands below it refuse to run
// without one of them.
func demandAction(cmd *cobra.Command) {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		var names []string
		for _, action := range cmd.Commands() {
			names = append(names, action.Name())
		}
		expected := strings.Join(names, ", ")
		if len(args) > 0 {
			return usageError{fmt.Errorf("unknown action %q, expected one of %s", args[0], expected)}
		}
		return usageError{fmt.Errorf("no action, expected one of %s", expected)}
	}
	cmd.RunE = func(*cobra.Command, []string) error { return nil } // Args has refused
}

// noArgs refuses arguments, naming the first.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unexpected argument %q, expected none", args[0])}
	}
	return nil
}
