// Command hello is the program of the example's base.
package main

import "fmt"

func main() {
	fmt.Println("hello")
}
