package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// checkCase refuses settings in capitals. To TOML "Action" and "action" are two
// keys; its library takes both for the same setting, and the later one would
// hold in silence.
func checkCase(data []byte) error {
	var faults []error
	p := new(unstable.Parser)
	p.Reset(data)
	for p.NextExpression() {
		for _, key := range keys(p.Expression()) {
			if name := string(key.Data); name != strings.ToLower(name) {
				faults = append(faults, inCapitals(p, key))
			}
		}
	}
	return errors.Join(append(faults, p.Error())...)
}

// keys returns the parts of all keys in an expression, inline tables included.
// It goes no deeper than a Config: what does not fit into one was refused before.
func keys(n *unstable.Node) []*unstable.Node {
	var found []*unstable.Node
	if n.Kind == unstable.Key {
		found = append(found, n)
	}
	for it := n.Children(); it.Next(); {
		found = append(found, keys(it.Node())...)
	}
	return found
}

func inCapitals(p *unstable.Parser, key *unstable.Node) error {
	const what = "%q is not a setting: write %q, in small letters"
	shape := p.Shape(key.Raw)
	line := strings.Split(string(p.Data()), "\n")[shape.Start.Line-1]
	number := fmt.Sprint(shape.Start.Line)
	return fmt.Errorf(what+"\n%s| %s\n%*s| %s%s",
		key.Data, strings.ToLower(string(key.Data)),
		number, strings.TrimSuffix(line, "\r"),
		len(number), "", strings.Repeat(" ", shape.Start.Column-1), strings.Repeat("~", int(key.Raw.Length)))
}
