package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// completion is what a shell asks for the values of an argument.
type completion = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective)

// anyMachine are the machines that ps -a lists.
func anyMachine(machine) bool { return true }

// isRunning is true of machines that an agent can be in.
func isRunning(m machine) bool { return m.State == stateRunning }

// completeMachines offers the names of machines for the first arguments of a
// verb, as many as it takes.
func completeMachines(most int, fits func(machine) bool) completion {
	return func(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names, err := machineNames(begun, fits)
		if err != nil {
			cobra.CompErrorln(err.Error())
			return nil, cobra.ShellCompDirectiveError
		}
		names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(args, name) })
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// completePlaces offers VM: of running machines, and else this machine's files.
func completePlaces(most int) completion {
	return func(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= most || strings.Contains(begun, ":") {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names, err := machineNames(begun, isRunning)
		if err != nil {
			cobra.CompErrorln(err.Error())
			return nil, cobra.ShellCompDirectiveError
		}
		if len(names) == 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		for i := range names {
			names[i] += ":"
		}
		return names, cobra.ShellCompDirectiveNoSpace
	}
}

func machineNames(begun string, fits func(machine) bool) ([]string, error) {
	state, err := stateDir()
	if err != nil {
		return nil, err
	}
	machines, err := findMachines(state)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, m := range machines {
		if fits(m) && strings.HasPrefix(m.Name, begun) {
			names = append(names, m.Name)
		}
	}
	return names, nil
}
