package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kindling-vm/kindling/guest/contract"
	"github.com/kindling-vm/kindling/guest/guestpb"
	"github.com/kindling-vm/kindling/guest/internal/etcfiles"
	"github.com/kindling-vm/kindling/guest/internal/inroot"
	"github.com/kindling-vm/kindling/guest/internal/network"
)

// ReconfigureNetwork gives an interface another identity. All that the request
// says is looked at before anything is changed; a call that failed later may be
// made again.
func (s *service) ReconfigureNetwork(
	_ context.Context, req *guestpb.ReconfigureNetworkRequest,
) (*guestpb.ReconfigureNetworkResponse, error) {
	change, err := networkChange(req)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	s.reconfigure.Lock()
	defer s.reconfigure.Unlock()
	if err := change.Apply(); errors.Is(err, unix.ENODEV) {
		return nil, status.Error(codes.NotFound, err.Error())
	} else if err != nil {
		return nil, fmt.Errorf("reconfigure network: %w", err)
	}
	if err := writeNameServers(s.root, req.GetDnsServers()); err != nil {
		return nil, fmt.Errorf("reconfigure network: %w", err)
	}
	return &guestpb.ReconfigureNetworkResponse{}, nil
}

func networkChange(req *guestpb.ReconfigureNetworkRequest) (*network.Change, error) {
	change := &network.Change{Interface: cmp.Or(req.GetInterfaceName(), contract.Interface)}
	var problems []error
	if len(change.Interface) >= unix.IFNAMSIZ || strings.Contains(change.Interface, "\x00") {
		problems = append(problems, fmt.Errorf("%.32q cannot be the name of an interface", change.Interface))
	}
	if req.GetMac() != "" {
		problems = append(problems, change.SetMAC(req.GetMac()))
	}
	if req.GetIpv4() != "" {
		problems = append(problems, change.SetAddress(req.GetIpv4(), int(min(req.GetPrefix(), math.MaxInt16))))
	} else if req.GetPrefix() != 0 {
		problems = append(problems, fmt.Errorf("prefix length %d is of no address", req.GetPrefix()))
	}
	if req.GetGateway() != "" {
		problems = append(problems, change.SetGateway(req.GetGateway()))
	}
	for _, server := range req.GetDnsServers() {
		if _, err := netip.ParseAddr(server); err != nil {
			problems = append(problems, fmt.Errorf("parse name server: %w", err))
		}
	}
	return change, errors.Join(problems...)
}

// writeNameServers replaces /etc/resolv.conf below a root as init makes it: a
// link there, as systemd-resolved's, would lead to a file that is not its own.
func writeNameServers(dir string, servers []string) (err error) {
	if len(servers) == 0 {
		return nil
	}
	root, err := inroot.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return etcfiles.WriteResolvConf(root, servers)
}
