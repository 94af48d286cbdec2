/** Every bound of the model, in one place. Reaching one is a message, never a hang. */
export const limits = {
  vcpus: 16,
  /** KVM_MAX_VCPU_IDS: 4 for each of up to 1024 vCPUs */
  vcpuIds: 4096,
  /** frames of the memory pool, the reserved frame 0 and the register pages included */
  frames: 128,
  framesDefault: 8,
  memslots: 20,
  /** pages of guest memory */
  memoryPages: 64,
  eptRoots: 6,
  tlbEntriesPerCpu: 16,
  stackDepth: 24,
  locals: 4,
  /** stores of a thread that others cannot see yet: the next one makes the oldest visible */
  storeBuffer: 4,
  loopNesting: 4,
  /** steps of a run unless it says otherwise */
  steps: 1_000_000,
  /** steps that one line of a `schedule` may take before the next line has its turn */
  directiveSteps: 1_000,
} as const;
