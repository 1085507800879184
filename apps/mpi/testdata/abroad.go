// A program to be built for a machine that no node of the lab is.
package main

func main() { println("I run abroad") }
