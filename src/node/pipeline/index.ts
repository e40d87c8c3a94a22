export { columnsOf, type LineBlock, type LineOptions } from './lines.ts';
export {
  LEVEL_LENGTH_MAX,
  LEVEL_NAME,
  LEVELS,
  type Level,
  type LevelId,
  levelOfLabels,
  levelOfLine,
  withLevels,
  withLevelsOfStreams,
} from './level.ts';
export { SERVICE_NAME, serviceRank, UNKNOWN_SERVICE, withServiceName } from './service.ts';
