/**
 * Hand: what a person does to a chaos cluster that runs: as to a demo, and `cut` and `heal`, because
 * its ways go through proxies.
 *
 * Effects: those of the stage.
 *
 * @module
 */

import { handCrew, memberOf } from "../src/cli_demo_control.ts";
import { QuorateError } from "../src/errors.ts";
import type { Stage } from "./stage.ts";

export async function handChaos(stage: Stage, words: readonly string[]): Promise<string> {
  const { crew, network } = stage;
  const [action, ...names] = words;
  if (action === "cut") {
    const [one, other] = names.map((name) => memberOf(crew, [name]));
    if (one === undefined || other === undefined || one === other) {
      throw new QuorateError("invalid-request", "Two different nodes have to be named.", {
        hint: "For example 'quorate chaos cut n1 n2'.",
      });
    }
    network.cut(one.index, other.index);
    return `${one.node.name} and ${other.node.name} do not hear each other until 'heal'.`;
  }
  if (action === "heal") {
    network.heal();
    return "Every way is well.";
  }
  return handCrew(crew, words);
}
