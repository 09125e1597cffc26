package config

import "slices"

// NeedRestart names the settings in which next differs from c and that belong
// to the process as a whole: its sockets, and what all mails together may take.
// They hold for as long as it runs.
func (c *Config) NeedRestart(next *Config) []string {
	var names []string
	for _, setting := range []struct {
		name string
		same bool
	}{
		{"listen", slices.Equal(c.Listen, next.Listen)},
		{"mode", c.Mode == next.Mode},
		{"limits.connections", c.Limits.Connections == next.Limits.Connections},
		{"limits.mails", c.Limits.Mails == next.Limits.Mails},
		{"limits.memory", c.Limits.Memory == next.Limits.Memory},
		{"limits.wait", c.Limits.Wait == next.Limits.Wait},
		{"resubmit.address", c.Resubmit.Address == next.Resubmit.Address},
		{"resubmit.journal", c.Resubmit.Journal == next.Resubmit.Journal},
		{"limits.copies", c.Limits.Copies == next.Limits.Copies},
		{"metrics.listen", c.Metrics.Listen == next.Metrics.Listen},
	} {
		if !setting.same {
			names = append(names, setting.name)
		}
	}
	return names
}
