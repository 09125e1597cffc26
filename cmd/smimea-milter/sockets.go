package main

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/coreos/go-systemd/v22/activation"

	"smimea.example/milter"
)

// listen opens all sockets that the settings name, or none. Those that systemd
// has opened for us (sd_listen_fds(3)) are taken as they are: it keeps them when
// we end, and mail servers that come before the next start wait there.
func listen(specs []string) ([]net.Listener, error) {
	given, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("the sockets of systemd: %w", err)
	}
	var opened []net.Listener
	var faults []error
	for _, spec := range specs {
		l, err := takeOrOpen(spec, &given)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		opened = append(opened, l)
	}
	if err := errors.Join(append(faults, unnamed(given))...); err != nil {
		closeAll(opened)
		closeAll(given)
		return nil, err
	}
	return opened, nil
}

// takeOrOpen takes the socket that spec names out of those given, or opens it.
func takeOrOpen(spec string, given *[]net.Listener) (net.Listener, error) {
	network, address, err := milter.ParseSpec(spec)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(*given, func(l net.Listener) bool { return l != nil && isAt(l.Addr(), network, address) })
	if i < 0 {
		return milter.Listen(spec)
	}
	l := (*given)[i]
	*given = slices.Delete(*given, i, i+1)
	return l, nil
}

func isAt(have net.Addr, network, address string) bool {
	tcp, ok := have.(*net.TCPAddr)
	if !ok || network != "tcp" {
		return have.Network() == network && have.String() == address
	}
	want, err := net.ResolveTCPAddr(network, address)
	return err == nil && want.Port == tcp.Port &&
		(want.IP.Equal(tcp.IP) || want.IP.IsUnspecified() && tcp.IP.IsUnspecified())
}

// unnamed complains of what is left: mail servers could come there, and nobody
// would answer.
func unnamed(given []net.Listener) error {
	var faults []error
	for _, l := range given {
		if l == nil {
			faults = append(faults, errors.New("systemd passes on something that is no listening stream socket: write ListenStream= into the socket unit"))
			continue
		}
		faults = append(faults, fmt.Errorf("systemd passes on the socket %s, which listen does not name: write it there, or take it out of the socket unit", l.Addr()))
	}
	return errors.Join(faults...)
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		if l != nil {
			l.Close()
		}
	}
}
