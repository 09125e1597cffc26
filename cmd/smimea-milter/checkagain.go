package main

import (
	"slices"
	"strings"
)

// passesAgain says whether what leaves passes the gateway once more: all of it
// is sent to a service of master.cf that asks the gateway, and that sends on
// what it takes another way.
func (r *report) passesAgain(mta map[string]string, sockets []string) bool {
	_, next, _ := strings.Cut(mta["default_transport"], ":")
	service := serviceAt(mta, next)
	if service == "" {
		return false
	}
	milters := service + "/smtpd_milters"
	if _, own := mta[milters]; !own {
		milters = "smtpd_milters"
	}
	switch options := fields(mta[service+"/receive_override_options"]); {
	case !asks(mta[milters], mta, sockets) || slices.Contains(options, "no_milters"):
		r.warn("default_transport = %s: there the gateway is not asked once more", mta["default_transport"])
		return false
	case !slices.Contains(options, "no_address_mappings"):
		r.warn("%s: addresses are changed once more, behind the gateway (add no_address_mappings to its receive_override_options)", service)
	}
	for _, parameter := range []string{"transport_maps", "sender_dependent_default_transport_maps"} {
		if mta[parameter] != "" {
			r.warn("%s: what it sends elsewhere than to %s does not pass the gateway once more", parameter, mta["default_transport"])
		}
	}
	r.ok("default_transport = %s: what leaves passes the gateway once more", mta["default_transport"])
	return true
}

// serviceAt finds the service of master.cf behind "[127.0.0.1]:10027", by its
// way to send on.
func serviceAt(mta map[string]string, next string) string {
	const parameter = "content_filter"
	next = strings.NewReplacer("[", "", "]", "").Replace(next)
	_, port, _ := strings.Cut(next, ":")
	for own, value := range ofServices(mta, parameter) {
		name, isInet := strings.CutSuffix(own, "/inet/"+parameter)
		if isInet && value != "" && next != "" && (name == next || name == port) {
			return strings.TrimSuffix(own, "/"+parameter)
		}
	}
	return ""
}
