package main

import "testing"

func TestPackageURL(t *testing.T) {
	tests := []struct{ got, want string }{
		{packageURL("golang", "github.com/Microsoft/hcsshim", "v0.15.0", ""), "pkg:golang/github.com/Microsoft/hcsshim@v0.15.0"},
		{packageURL("golang", "m", "v1.0.0+incompatible", "a b/c"), "pkg:golang/m@v1.0.0%2Bincompatible#a%20b/c"},
		{packageURL("deb", "debian/g++", "1:2~rc1", "", pair{"a", "x/y"}, pair{"b", "@%"}),
			"pkg:deb/debian/g%2B%2B@1:2~rc1?a=x%2Fy&b=%40%25"},
		{packageURL("golang", "m", "", ""), "pkg:golang/m"},
	}
	for _, test := range tests {
		if test.got != test.want {
			t.Errorf("got %s, want %s", test.got, test.want)
		}
	}
}
