// Command etcd is etcd's server as its module delivers it, so that the newest one can be measured.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
