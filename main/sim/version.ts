/** The version of the model: recordings name it, and `verify` compares under the same one. */
export const modelVersion = '1';
