/**
 * Cli version: the version of the program, which a test compares with package.json.
 *
 * It stands alone so that `--version` and the data commands read no file for it.
 *
 * @module
 */

export const programVersion = "0.1.0";
