package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/kindling-vm/kindling/system"
)

func doctorCommand() *cobra.Command {
	var flags *setFlags
	cmd := &cobra.Command{
		Use:   "doctor [flags]",
		Short: "Find what keeps this machine from running virtual machines",
		Long: `Check the data directory, read every file of the installed artifact sets, see
whether their kernels suit this machine and its hypervisors, and look for the
hypervisors and KVM. For each finding, say what to do. Nothing is changed but that
corrupt files go to quarantine. No machine is started.

The exit code is 1 where a finding is an error. Warnings are what some hosts can do
without.

With -o json, a list of objects: check (data-dir, sets, file, kernel, program or
kvm), subject, status (ok, warning or error), detail, and advice where something is
to be done. Later versions may add keys, checks and findings, but take away and
change none. Exit codes: kindling help exit-codes.`,
		Example: `  kindling doctor
  kindling doctor -o json`,
		Args: usage(cobra.NoArgs),
		RunE: setVerb(func(cmd *cobra.Command, _ []string) error {
			dir, err := flags.dir()
			if err != nil {
				return err
			}
			d := &doctor{dir: dir, store: system.NewStore(dir, system.Options{}), arch: system.GetArch(), kvm: "/dev/kvm", room: littleRoom}
			d.examine(cmd.Context())
			if err := context.Cause(cmd.Context()); err != nil {
				return err
			}
			err = printReport(cmd.OutOrStdout(), flags.format, d.findings, d.print)
			if wrong := d.count(statusError); wrong > 0 {
				err = errors.Join(err, fmt.Errorf("found %d errors", wrong))
			}
			if err != nil {
				return commandExit{exitFailed, err.Error()}
			}
			return nil
		}),
	}
	flags = addSetFlags(cmd)
	return cmd
}

// status says how bad a finding is.
type status string

const (
	statusOK      status = "ok"
	statusWarning status = "warning"
	statusError   status = "error"
)

// finding is what doctor found of one thing.
type finding struct {
	Check   string `json:"check"`
	Subject string `json:"subject"`
	Status  status `json:"status"`
	Detail  string `json:"detail"`
	Advice  string `json:"advice,omitempty"`
}

// doctor looks at one data directory and one machine.
type doctor struct {
	dir   string
	store *system.Store
	arch  string // this machine's
	kvm   string // KVM's device
	room  uint64 // bytes that should be free

	findings []finding
}

func (d *doctor) examine(ctx context.Context) {
	if d.examineDir(ctx) {
		d.examineSets(ctx)
	}
	d.examinePrograms()
	d.examineKVM()
}

func (d *doctor) ok(check, subject, detail string) {
	d.findings = append(d.findings, finding{check, subject, statusOK, detail, ""})
}

func (d *doctor) warn(check, subject, detail, advice string) {
	d.findings = append(d.findings, finding{check, subject, statusWarning, detail, advice})
}

func (d *doctor) fail(check, subject, detail, advice string) {
	d.findings = append(d.findings, finding{check, subject, statusError, detail, advice})
}

func (d *doctor) count(status status) (count int) {
	for _, f := range d.findings {
		if f.Status == status {
			count++
		}
	}
	return count
}

func (d *doctor) print(w io.Writer) {
	for _, f := range d.findings {
		fmt.Fprintf(w, "%-7s  %s %s: %s\n", f.Status, f.Check, printable(f.Subject), printable(f.Detail))
		if f.Advice != "" {
			fmt.Fprintf(w, "         -> %s\n", f.Advice)
		}
	}
}
