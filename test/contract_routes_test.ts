/** The contract that every runtime is held to leaves no route out: told here, where it takes a moment. */

import { suite } from "uvu";
import { checkAllRoutesAsked, routeCases } from "../conformance/contract_routes.ts";
import { Edge } from "./http_harness.ts";

const test = suite("contract routes");

test("every route of the document is asked for by a case of the contract", async () => {
  const steps = routeCases.flatMap((one) => one.steps);
  const asked = steps.map(
    ({ ask: { method = "GET", target } }) => `${method} ${target.split("?")[0]}`,
  );
  const edge = await Edge.open();
  try {
    await checkAllRoutesAsked({ port: Number(edge.authority.split(":")[1]) }, new Set(asked));
  } finally {
    await edge.close();
  }
});

test.run();
